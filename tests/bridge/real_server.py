"""A real MCP server made with the SDK: `python real_server.py stdio`, or `http PORT`, `sse PORT`."""

import asyncio
import os
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel

server = MCPServer("real", instructions="for tests")
notes: list[str] = []


class Colour(BaseModel):
    colour: str


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def note(text: str) -> str:
    """Remember a text."""
    notes.append(text)
    return str(len(notes))


@server.tool()
def blow_up(size: int) -> str:
    """Answer at length."""
    return "x" * size


@server.tool()
async def slow(seconds: float, ctx: Context[Any, Any]) -> str:
    """Take a while, and say so."""
    await ctx.report_progress(1, 2, "half")
    await asyncio.sleep(seconds)
    return "slept"


@server.tool()
async def paint(ctx: Context[Any, Any]) -> str:
    """Ask for a colour."""
    answer = await ctx.elicit("Which colour?", Colour)
    return f"{answer.action} {getattr(getattr(answer, 'data', None), 'colour', '')}"


@server.tool()
async def grow(ctx: Context[Any, Any]) -> str:
    """Offer one more tool."""
    server.add_tool(lambda: "grown", name="grown", description="was not there before")
    await ctx.notify_tools_changed()
    return "grew"


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(9)


@server.resource("memo://today")
def today() -> str:
    """What is written for today."""
    return "buy milk"


@server.prompt()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Say hello to {name}"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run()
    elif sys.argv[1] == "http":
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("sse", port=int(sys.argv[2]))
