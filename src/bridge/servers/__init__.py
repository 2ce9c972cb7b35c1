"""MCP servers: one owner task each, over stdio or HTTP. The gateway's cloud servers stand on this package too.

`owner.py` runs a server, `session.py` speaks MCP, `jsonrpc.py` is the pure core, `stdio.py` and `http.py` carry
bytes, `process.py` starts and ends process groups. Nothing here knows of tunnels, policies or the gateway.
"""
