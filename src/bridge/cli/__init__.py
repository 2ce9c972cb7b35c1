"""The command line of `ai-bridge`: `root.py` has the table of commands, the other modules the commands."""
