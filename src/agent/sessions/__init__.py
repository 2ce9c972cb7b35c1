"""Sessions as logs: the journal, the files, the index, and what is read back from them."""
