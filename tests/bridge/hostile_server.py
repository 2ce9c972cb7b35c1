"""A scripted MCP server that misbehaves on request; each tool is named after its misdeed.

Run as a process: `python hostile_server.py [BEHAVIOUR]`. Behaviours at the start: innocent, crash, hang, junk, modern,
ignore_term, fork, malformed, many_malformed, unreadable, lists_fail, escapes, crash_after. Without one it behaves well
until a tool is called.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BEHAVIOUR = sys.argv[1] if len(sys.argv) > 1 else ""
NOTE = Path(sys.argv[2]) if len(sys.argv) > 2 else None
MISDEEDS = [
    "good", "echo", "crash", "never", "late", "twice", "wrong_id", "nan", "no_newline", "medium", "huge", "flood",
    "noise", "invalid", "error", "progress", "big", "ask", "sample", "change", "cancelled", "slow", "environment",
    "close_stdout", "exit_after", "is_error", "big_broken", "progress_flood", "daemon", "note", "ask_and_go",
]  # fmt: skip
version = [1]


def write(text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def send(message: dict[str, Any]) -> None:
    write(json.dumps(message) + "\n")


def result(number: Any, value: Any) -> None:
    send({"jsonrpc": "2.0", "id": number, "result": value})


def text(number: Any, words: str) -> None:
    result(number, {"content": [{"type": "text", "text": words}]})


def read() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        if BEHAVIOUR == "ignore_term":
            while True:
                time.sleep(1)
        sys.exit(0)
    return json.loads(line)


def tools() -> list[Any]:
    listed: list[Any] = [
        {"name": name, "description": f"does {name} v{version[0]}", "inputSchema": {"type": "object", "properties": {}}}
        for name in MISDEEDS
    ]
    if BEHAVIOUR == "innocent":
        for tool in listed:
            tool["annotations"] = {"readOnlyHint": True, "idempotentHint": True}
    if BEHAVIOUR == "malformed":
        listed[2:2] = [
            {"name": 5, "inputSchema": {}}, {"name": "no_schema"}, "text", None, {"name": "", "inputSchema": {}},
            {"name": "schema_list", "inputSchema": []}, {"name": "good", "inputSchema": {"type": "object"}},
            {"name": "bad_text", "description": 7, "inputSchema": {"type": "object"}},
        ]  # fmt: skip
    if BEHAVIOUR == "many_malformed":
        listed += [{"name": f"t{number}"} for number in range(9_000)]
    if BEHAVIOUR == "unreadable":
        listed[2:2] = [
            {"name": "nan", "inputSchema": {"type": "object", "properties": {"x": {"default": math.nan}}}},
            {"name": "inf", "inputSchema": {"type": "object"}, "outputSchema": {"x": -math.inf}},
            {"name": "hint", "inputSchema": {"type": "object"}, "annotations": {"x": [math.inf]}},
            {"name": "not_relied_on", "inputSchema": {"type": "object"}, "_meta": {"x": math.nan}},
            {"name": "filler", "inputSchema": {"type": "object"}, "_meta": {"x": "x" * int(sys.argv[2])}},
        ]
    return listed


def call(number: Any, name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> None:
    if name in ("good", "echo"):
        text(number, arguments.get("text", "good"))
    elif name == "note":
        assert NOTE is not None
        with NOTE.open("a") as file:
            file.write(arguments["text"] + "\n")
        if arguments.get("die"):
            os._exit(7)
        text(number, "noted")
    elif name == "crash":
        print("about to crash: token=topsecret1", file=sys.stderr, flush=True)
        os._exit(13)
    elif name == "exit_after":
        text(number, "last words")
        os._exit(0)
    elif name == "never":
        pass
    elif name == "late":
        time.sleep(0.4)
        text(number, "late")
    elif name == "slow":
        time.sleep(arguments.get("seconds", 0.2))
        text(number, "slow")
    elif name == "twice":
        text(number, "first")
        text(number, "second")
    elif name == "wrong_id":
        text(number + 1000, "wrong")
        text(str(number), "wrong")
        text(None, "wrong")
    elif name == "nan":
        write(
            b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"x"}],"structuredContent":{"x":NaN}}}\n'
            % number
        )
    elif name == "no_newline":
        write(json.dumps({"jsonrpc": "2.0", "id": number, "result": {"content": []}}))
    elif name == "medium":
        text(number, "m" * 70_000)
    elif name == "big":
        text(number, "b" * int(arguments["size"]))
    elif name == "big_broken":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[NaN,"%b"]}}\n' % (number, b"b" * 1_500_000))
    elif name == "huge":
        write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % number)
        for _ in range(int(arguments["megabytes"])):
            write(b"h" * 1_000_000)
        write(b'"}]}}\n')
    elif name == "flood":
        for _ in range(20_000):
            print("stderr flood " + "x" * 80, file=sys.stderr)
        text(number, "flooded")
    elif name == "noise":
        write(b"Debugger attached.\n\n\xff\xfe\x00\n{half a line\n[]\n")
        text(number, "after noise")
    elif name == "invalid":
        result(number, arguments.get("value"))
    elif name == "is_error":
        result(number, {"content": [{"type": "text", "text": "it failed"}], "isError": True})
    elif name == "error":
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": "bad arguments", "data": {"x": 1}}})
    elif name == "progress":
        for step in (1, 2):
            progress(meta["progressToken"], step)
        text(number, "done")
    elif name == "progress_flood":
        for _ in range(50_000):
            progress(meta["progressToken"], 1)
        text(number, "done")
    elif name == "ask_flood":
        method, params = ("ping", {}) if arguments["what"] == "ping" else ("elicitation/create", {
            "message": "?", "requestedSchema": {"type": "object"}})  # fmt: skip
        for each in range(50_000):
            send({"jsonrpc": "2.0", "id": f"f{each}", "method": method, "params": params})
        text(number, "done")
    elif name == "ask":
        schema = arguments.get("schema", {"type": "object", "properties": {"colour": {"type": "string"}}})
        params = {"message": "Which colour?", "requestedSchema": schema}
        send({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": params})
        text(number, json.dumps(answer_to("q1")))
    elif name == "ask_and_go":
        send({"jsonrpc": "2.0", "id": "q2", "method": "elicitation/create", "params": {
            "message": "Never mind?", "requestedSchema": {"type": "object"},
        }})  # fmt: skip
        text(number, "went on")
        if arguments.get("note"):
            Path(arguments["note"]).write_text(json.dumps(answer_to("q2")))
    elif name == "sample":
        send(
            {
                "jsonrpc": "2.0",
                "id": "s1",
                "method": "sampling/createMessage",
                "params": {"messages": [], "maxTokens": 1},
            }
        )
        text(number, json.dumps(answer_to("s1")))
    elif name == "change":
        version[0] += 1
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        text(number, "changed")
    elif name == "cancelled":
        while True:
            message = read()
            if message.get("method") == "notifications/cancelled":
                assert NOTE is not None
                NOTE.write_text(json.dumps(message["params"]))
                text(number, "too late")
                return
    elif name == "environment":
        text(number, json.dumps(dict(os.environ)))
    elif name == "close_stdout":
        os.close(1)
        time.sleep(30)
    elif name == "daemon":
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        text(number, str(child.pid))


def progress(token: Any, step: int) -> None:
    params = {"progressToken": token, "progress": step, "total": 2, "message": f"step {step}"}
    send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def answer_to(number: str) -> Any:
    while True:
        message = read()
        if message.get("id") == number:
            return message.get("result", message.get("error"))


def handle(message: dict[str, Any]) -> None:
    method, number, params = message.get("method"), message.get("id"), message.get("params", {})
    if method == "initialize":
        if BEHAVIOUR == "modern":
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no initialize here"}})
            return
        if BEHAVIOUR == "escapes":
            words = "no\n\x1b[2J\x07 key \u202e" + "x" * 5_000
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": words}})
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": words}})
            return
        more = {"resources": {}, "prompts": {}} if BEHAVIOUR == "lists_fail" else {}
        result(number, {
            "protocolVersion": "1999-01-01" if BEHAVIOUR == "old" else "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}, **more}, "serverInfo": {"name": "hostile", "version": "1"},
        })  # fmt: skip
    elif method == "server/discover":
        result(number, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"})
    elif method in ("resources/list", "resources/templates/list") and NOTE is not None and NOTE.name in method:
        result(number, {"resources": [{"uri": "a://b"}], "resourceTemplates": [{"uriTemplate": "a://{x}"}]})
    elif method is not None and method.endswith("/list") and method != "tools/list":
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "not\x1b[2J today"}})
    elif method == "tools/list":
        result(number, {"tools": tools()})
        if BEHAVIOUR == "crash_after":
            time.sleep(0.05)
            os._exit(3)
    elif method == "tools/call":
        if BEHAVIOUR == "modern":
            modern_call(number, params)
        else:
            call(number, params["name"], params.get("arguments", {}), params.get("_meta", {}))
    elif number is not None and method is not None:
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "unknown"}})


def modern_call(number: Any, params: dict[str, Any]) -> None:
    """One question, then the answer; every request must carry its version."""
    assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    if "inputResponses" not in params:
        asked = {"method": "elicitation/create", "params": {"message": "Sure?", "requestedSchema": {"type": "object"}}}
        result(number, {"resultType": "input_required", "inputRequests": {"a": asked}, "requestState": "sealed"})
    else:
        text(number, json.dumps([params["inputResponses"], params["requestState"]]))


def main() -> None:
    if BEHAVIOUR == "crash":
        print("cannot find module 'left-pad'", file=sys.stderr, flush=True)
        os._exit(1)
    if BEHAVIOUR == "hang":
        time.sleep(300)
    if BEHAVIOUR == "junk":
        write(b"npm WARN deprecated\nhello\n" * 3)
    if BEHAVIOUR in ("ignore_term", "fork"):
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 300 & sleep 300"], stdin=subprocess.DEVNULL)
        if NOTE is not None:
            NOTE.write_text(str(child.pid))
    while True:
        handle(read())


if __name__ == "__main__":
    main()
