"""The user's machine: dials out and lends local MCP servers. Installs and runs without the rest of the tree."""
