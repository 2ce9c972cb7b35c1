"""An MCP server over stdio whose tools leave traces: each call appends a line to the file given as its argument."""

import asyncio
import os
import sys

from mcp.server import MCPServer

mcp = MCPServer("effects")


def append(line: str) -> None:
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@mcp.tool()
async def append_line(line: str) -> str:
    """Append a line to the file. Not to be repeated."""
    append(line)
    return f"appended {line}"


@mcp.tool()
async def append_slowly(line: str, seconds: float = 0.2) -> str:
    """Append a line, then take a while to say so."""
    append(line)
    await asyncio.sleep(seconds)
    return f"appended {line}"


if __name__ == "__main__":
    mcp.run()
