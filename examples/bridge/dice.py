"""A home-made MCP server: two tools, over stdio. Needs `mcp`."""

import random

from mcp.server import MCPServer

server = MCPServer("dice")


@server.tool()
def roll(sides: int = 6, times: int = 1) -> str:
    """Roll a die with so many sides, so many times."""
    if not (2 <= sides <= 1000 and 1 <= times <= 100):
        raise ValueError("2 to 1000 sides, 1 to 100 times")
    return " ".join(str(random.randint(1, sides)) for _ in range(times))


@server.tool()
def toss() -> str:
    """Toss a coin."""
    return random.choice(("heads", "tails"))


if __name__ == "__main__":
    server.run()
