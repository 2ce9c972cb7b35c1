"""An MCP server over stdio without a library: `append {"line"}` and `ask {"line"}` leave a line in a file.

It is there at once, so that a test that starts many gateways need not wait for it.
"""

import json
import os
import sys
import time
from typing import Any

SCHEMA = {"type": "object", "properties": {"line": {"type": "string"}, "seconds": {"type": "number"}},
          "required": ["line"], "additionalProperties": False}  # fmt: skip


def append(line: str) -> None:
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def answer(request: dict[str, Any]) -> dict[str, Any] | None:
    method, params = request.get("method"), request.get("params") or {}
    if method == "initialize":
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "instant", "version": "1"}}  # fmt: skip
    if method == "tools/list":
        return {"tools": [{"name": name, "description": name, "inputSchema": SCHEMA} for name in ("append", "ask")]}
    if method == "tools/call":
        arguments = params.get("arguments") or {}
        if not isinstance(arguments.get("line"), str):
            return {"content": [{"type": "text", "text": "a line is needed"}], "isError": True}
        append(arguments["line"])
        time.sleep(min(0.2, float(arguments.get("seconds", 0))))
        return {"content": [{"type": "text", "text": f"appended {arguments['line']}"}]}
    return {} if "id" in request else None


if __name__ == "__main__":
    for text in sys.stdin:
        request = json.loads(text)
        found = answer(request)
        if found is not None and "id" in request:
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": found}), flush=True)
