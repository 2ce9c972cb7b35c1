"""The pages `docs/protocol.md` and `docs/attacks.md`: what of them follows from the code and the tests."""

import ast
import asyncio
import dataclasses
import re
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, get_args

DOCS = Path(__file__).resolve().parent
HIDDEN = {"session", "type", "origin", "user", "at"}  # as `bus.codec.params` leaves out

PROTOCOL = """\
# The protocol

*The tables are written by `docs/generate.py` from the code; `make docs` writes them anew.*

JSON-RPC 2.0 in text frames over `GET /ws`, one request or a batch of at most 50, and over HTTP as `POST /api/v1/rpc`,
where `chat.send_stream` answers `text/event-stream`. A running gateway describes its methods by `rpc.discover`.

Authentication: the header `Authorization: Bearer TOKEN`, or within 10 s the first request `connect {"token": "…"}`;
the web chat uses an HttpOnly cookie got for a one-time code. A token is never in a URL. A foreign `Origin` or `Host`
is refused before the upgrade.

Every accepted message ends in exactly one `chat.done` or `chat.error`, a restart in between included. An event is a
notification `{"jsonrpc":"2.0","method":"event","params":{"type", "session_key", "message_id", "seq", …}}`. `seq`
counts per session one by one; after a crash it goes on from a higher number and `chat.started` comes again with a
higher `attempt`, which voids the deltas before it. `session.subscribe` with `after_seq` replays what was missed (300
events or 5 minutes), or fails with 1010: then the history has the answer. Merged deltas carry `from_seq` of the first
and `seq` of the last.

A repeat with the same `idempotency_key` within 24 h is the same message: it gets the first `message_id` and `seq`;
other content under that key is 1008.

Close codes: 1001 and 1012 going away, 1003 binary frame, 1007 bad UTF-8, 1009 too big; 4008 slow reader and 4029 too
fast (reconnect); 4501 not authenticated, 4502 authentication timed out, 4503 forbidden, 4505 incompatible, 4509
replaced (do not reconnect by yourself).

An HTTP request that still waits when the gateway stops is answered 503 with 1007. `retryable` says whether it may be
sent again: with its `idempotency_key` it may; without one, what it asked for may have been taken in. A stream ends.
"""


def protocol() -> str:
    """The page of methods, events, errors and commands."""
    return "\n".join([PROTOCOL, *_methods(), *_events(), *_errors(), *_commands()]).rstrip() + "\n"


def _methods() -> Iterator[str]:
    yield "## Methods\n\nIn the column *who*: the scopes any one of which lets in.\n"
    yield "| method | params | who | |\n|---|---|---|---|"
    for name, row in sorted(asyncio.run(_table()).items()):
        schema = row.params.model_json_schema()
        required = set(schema.get("required", ()))
        params = ", ".join(f"`{each}`" + ("" if each in required else "?") for each in schema.get("properties", {}))
        who = "anyone" if row.open else " ".join(f"`{scope}`" for scope in sorted(row.scopes)) or "authenticated"
        yield f"| `{name}` | {params or '–'} | {who} | {_cell(row.summary)} |"


async def _table() -> dict[str, Any]:
    from gateway.composition import compose
    from gateway.settings import load_settings

    with tempfile.TemporaryDirectory() as home:
        async with AsyncExitStack() as stack:
            gateway = await compose(load_settings(None, {"HOME": home}), stack)
            return dict(gateway.dispatcher.methods)


def _events() -> Iterator[str]:
    from bus.events import Event

    yield "\n## Events\n\n| type | carries | |\n|---|---|---|"
    for value in get_args(Event):
        fields = {each.name: each for each in dataclasses.fields(value)}
        shown = [name for name in fields if name not in HIDDEN | {"message_id", "seq"}]
        text = "" if (value.__doc__ or "").startswith(value.__name__ + "(") else value.__doc__
        yield f"| `{fields['type'].default}` | {', '.join(f'`{name}`' for name in shown)} | {_cell(text)} |"


def _errors() -> Iterator[str]:
    from bus.errors import BY_CODE

    yield "\n## Errors\n"
    yield "JSON-RPC's own numbers for the envelope (-32700, -32600, -32601, -32602, -32603); everything else is"
    yield "positive, the same on WebSocket, HTTP and tunnel. `error.data` is `{retryable, retry_after_ms?, trace_id}`."
    yield ""
    yield "| code | meaning | again? |\n|---|---|---|"
    for code, error in sorted(BY_CODE.items()):
        yield f"| {code} | {_cell(error.__doc__)} | {'yes' if error.retryable else 'no'} |"


def _commands() -> Iterator[str]:
    from bus.commands import COMMANDS

    yield (
        "\n## Slash commands\n\nMessages like any other, on every channel. `/start`, which Telegram sends by itself, "
        "is answered with a greeting and this list.\nWhat concerns the speaker and not the conversation (`/sessions`, "
        "`/usage`, `/memory`, `/bridge`, `/approvals`, `/pair list`,\n`/delivery list`) is told in private chats only; "
        "in a group the answer says so.\n"
    )
    yield "| command | | |\n|---|---|---|"
    for command in COMMANDS:
        usage = f"/{command.name} {command.usage}".strip().replace("|", "\\|")
        yield f"| `{usage}` | {command.en}{' (admins)' if command.admin else ''} | {command.zh} |"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def attacks() -> str:
    """The list of cases as it stands, with the tests that carry each number in the last column."""
    text = (DOCS / "attacks.md").read_text(encoding="utf-8")
    tests = marked(DOCS.parent / "tests")
    lines = []
    for line in text.splitlines():
        cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
        if len(cells) >= 3 and cells[0].isdigit():
            found = sorted(tests.get(int(cells[0]), ()))
            line = f"| {cells[0]} | {cells[1]} | {cells[2]} | {', '.join(found) or '–'} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def marked(folder: Path) -> dict[int, set[str]]:
    """Which test modules carry which numbers."""
    found: dict[int, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "attack":
                for number in node.args:
                    if isinstance(number, ast.Constant) and isinstance(number.value, int):
                        found.setdefault(number.value, set()).add(path.relative_to(folder).with_suffix("").as_posix())
    return found
