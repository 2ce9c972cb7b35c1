"""The HTTP routes: small clients of the same methods that WebSocket uses."""
