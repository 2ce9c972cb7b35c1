"""The one way to any tool: the guard, and the desk where a person's yes is asked and kept."""
