"""An MCP server over stdio that costs next to nothing: `echo` and `big`, without the SDK. For the bench."""

import json
import sys


def answer(request: dict[str, object]) -> dict[str, object] | None:
    """The result of a request, or None for a notification."""
    method = request.get("method")
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1"},
        }  # fmt: skip
    if method == "tools/list":
        schema = {"type": "object"}
        return {
            "tools": [{"name": name, "description": "", "inputSchema": schema} for name in ("echo", "write", "big")]
        }
    if method == "tools/call":
        params = request["params"]
        assert isinstance(params, dict)
        arguments = params.get("arguments") or {}
        text = "x" * int(arguments["size"]) if params["name"] == "big" else str(arguments.get("text", ""))
        return {"content": [{"type": "text", "text": text}]}
    return None if "id" not in request else {}


def main() -> None:
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while line := read.readline():
        request = json.loads(line)
        result = answer(request)
        if result is not None:
            write.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\n")
            write.flush()


if __name__ == "__main__":
    main()
