"""The one way to any tool: the guard, approvals, and the sources of cloud tools."""
