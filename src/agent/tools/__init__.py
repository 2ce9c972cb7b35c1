"""Tools: the round's calls checked, run and bounded; the built-in ones."""
