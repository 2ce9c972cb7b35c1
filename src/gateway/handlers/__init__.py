"""The methods, a module per family, behind one table that WebSocket, HTTP, SSE and the commands share."""
