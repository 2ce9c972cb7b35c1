"""A third reading of the public contract, from outside: processes, sockets, HTTP."""
