"""An MCP server that costs next to nothing: the far end of a tool call in the bench.

`python -m bench.tool_server` speaks newline-delimited JSON over stdio; with `--http` it prints a port and
answers Streamable HTTP there. Tools: `echo` gives `text` back, `big` gives `size` bytes, `note` counts.
"""

import os
import sys
from typing import Any

import orjson

TOOLS = [
    {"name": name, "description": name, "inputSchema": {"type": "object", "properties": {}}}
    for name in ("echo", "big", "note")
]
notes = [0]
texts: dict[int, str] = {}


def result_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for a method that isn't there."""
    method, params = message["method"], message.get("params") or {}
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion", "2025-11-25"), "capabilities": {"tools": {}},
            "serverInfo": {"name": "bench", "version": "1"},
        }  # fmt: skip
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "ping":
        return {}
    if method != "tools/call":
        return None
    arguments = params.get("arguments") or {}
    if params["name"] == "echo":
        text = arguments.get("text", "")
    elif params["name"] == "big":
        size = arguments["size"]
        text = texts.get(size) or texts.setdefault(size, "0123456789abcdef" * (size // 16))
    else:
        notes[0] += 1
        text = str(notes[0])
    return {"content": [{"type": "text", "text": text}]}


def answer(line: bytes) -> bytes | None:
    """One line's answer; None for a notification."""
    message = orjson.loads(line)
    if "id" not in message:
        return None
    result = result_of(message)
    if result is None:
        body = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
    else:
        body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return orjson.dumps(body)


def stdio() -> None:
    """Until stdin ends."""
    rest = b""
    while data := os.read(0, 1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        out = b"".join(said + b"\n" for line in lines if line and (said := answer(line)) is not None)
        view = memoryview(out)
        while view:
            view = view[os.write(1, view) :]


def http() -> None:
    from aiohttp import web

    async def post(request: web.Request) -> web.Response:
        said = answer(await request.read())
        if said is None:
            return web.Response(status=202)
        return web.Response(body=said, content_type="application/json")

    async def announce(app: web.Application) -> None:
        print(app["port"], flush=True)

    import socket

    listening = socket.create_server(("127.0.0.1", 0))
    app = web.Application()
    app["port"] = listening.getsockname()[1]
    app.router.add_post("/mcp", post)
    app.on_startup.append(announce)
    web.run_app(app, sock=listening, print=None, access_log=None)


if __name__ == "__main__":
    http() if "--http" in sys.argv else stdio()
