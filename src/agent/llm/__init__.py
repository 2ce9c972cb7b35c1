"""The language models: one endpoint, several of them in order, and one that needs none."""
