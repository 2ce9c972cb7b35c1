"""SIGKILL at random moments under load: what clients were told, what is on disk, what a tool really did."""

import asyncio
import json
import random
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.e2e.gateway_process import Client, GatewayProcess, Refused
from tests.fakes.openai_server import OpenAIServer

SENDERS = 6


class Ledger:
    """What the senders were told."""

    def __init__(self) -> None:
        self.accepted: dict[str, tuple[str, str]] = {}
        """idempotency key -> (message_id, session key) of each acknowledgement."""
        self.ended: dict[str, list[dict[str, Any]]] = {}

    def acknowledged(self, key: str, message_id: str, session_key: str) -> None:
        before = self.accepted.setdefault(key, (message_id, session_key))
        assert before[0] == message_id, f"{key} was acknowledged as two messages"


def text_for(key: str) -> str:
    """What is said under a key: always the same, so that it may be said again."""
    kind = zlib.crc32(key.encode()) % 4
    if kind == 0:
        return f"say {key}"
    tool = "effects_append_slowly" if kind == 1 else "effects_append_line"
    return f"!tool {tool} {json.dumps({'line': key})}"


async def sender(number: int, url: str, book: Ledger, keys: list[str]) -> None:
    """Send and remember every acknowledgement, until the connection is gone; what was not acknowledged is repeated."""
    session = f"session {number}"
    try:
        async with Client(url) as client:
            while True:
                if not keys or keys[-1] in book.accepted:
                    keys.append(f"k{number}-{len(keys)}")
                key = keys[-1]
                try:
                    result = await client.call(
                        "chat.send_stream", text=text_for(key), session_key=session, idempotency_key=key
                    )
                except Refused as refused:
                    assert refused.code == 1007, refused
                    await asyncio.sleep(0.05)
                    continue
                book.acknowledged(key, result["message_id"], session)
                if random.random() < 0.5:
                    await client.end(result["message_id"])
    except (OSError, TimeoutError, websockets.WebSocketException):
        return


def lines_of(gateway: GatewayProcess) -> dict[str, list[dict[str, Any]]]:
    """Session key -> its records, as they lie on the disk of a stopped gateway."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in (gateway.home / "sessions").rglob("*.jsonl"):
        if file.name == "journal.jsonl":
            continue
        head, *records = [json.loads(line) for line in file.read_text().splitlines()]
        found[head["session_key"]] = records
    return found


def check(gateway: GatewayProcess, book: Ledger, effects: Path) -> None:
    sessions = lines_of(gateway)
    done = Counter(effects.read_text().splitlines()) if effects.exists() else Counter()
    assert not [line for line, count in done.items() if count > 1], "a tool ran twice"
    for key, (message_id, session) in book.accepted.items():
        records = sessions[session]
        messages = [r for r in records if r["type"] == "message" and r.get("idempotency_key") == key]
        assert len(messages) == 1, f"{key}: stored {len(messages)} times"
        assert messages[0]["message_id"] == message_id
        mine = [r for r in records if r.get("message_id") == messages[0]["message_id"]]
        ends = [r for r in mine if r["type"] in ("chat.done", "chat.error")]
        assert len(ends) == 1, f"{key}: {len(ends)} ends"
        results = [r for r in mine if r["type"] == "tool.finished"]
        if results and not results[0]["is_error"]:
            assert done[key] == 1, f"{key}: said to be done, and was not"
    for session, records in sessions.items():
        numbers = [r["seq"] for r in records]
        assert numbers == sorted(set(numbers)), f"{session}: numbers do not rise"


async def storm(tmp_path: Path, kills: int) -> None:
    effects = tmp_path / "effects.txt"
    book, keys = Ledger(), [[] for _ in range(SENDERS)]
    async with OpenAIServer(pace=0.001) as model:
        gateway = GatewayProcess(
            tmp_path / "home",
            {
                "models": [{"name": "m", "base_url": model.url, "api_key": "k", "model": "scripted"}],
                "limits": {"messages_per_minute": 0, "queued_messages_per_session": 50, "turns_per_user": 50},
                "agent": {"mode": "single"},
                "mcp_servers": [{
                    "name": "effects", "command": sys.executable,
                    "args": [str(Path(__file__).parent.parent / "fakes" / "effects_server.py"), str(effects)],
                }],
            },
        )  # fmt: skip
        for number in range(kills):
            await gateway.start()
            if not number:
                await tools_are_there(gateway)
            async with asyncio.TaskGroup() as tasks:
                senders = [tasks.create_task(sender(n, gateway.ws, book, keys[n])) for n in range(SENDERS)]
                await asyncio.sleep(random.uniform(0.05, 1.0))
                await gateway.kill()
                await asyncio.wait(senders, timeout=5)
                for task in senders:
                    task.cancel()
        gateway.configuration["limits"]["drain_seconds"] = 60
        await gateway.start()
        try:
            async with Client(gateway.ws) as client:
                async with asyncio.timeout(60):
                    while (await client.call("health"))["status"] != "ok" or await busy(gateway, client):
                        await asyncio.sleep(0.2)
            assert await gateway.stop() == 0
        finally:
            if gateway.process is not None and gateway.process.returncode is None:
                await gateway.kill()
    assert len(book.accepted) > kills
    assert len(effects.read_text().splitlines()) > kills, "hardly a tool ran: the test shows nothing"
    check(gateway, book, effects)


async def tools_are_there(gateway: GatewayProcess) -> None:
    """The server of the effects has started; from then on its tools are remembered."""
    async with Client(gateway.ws) as client, asyncio.timeout(20):
        while "effects_append_line" not in str(await client.call("tools.list")):
            await asyncio.sleep(0.1)


async def busy(gateway: GatewayProcess, client: Client) -> bool:
    """Whether a session still has a message without an end."""
    for number in range(SENDERS):
        try:
            exported = await client.call("session.export", session_key=f"session {number}")
        except Refused:
            continue
        records = [json.loads(line) if isinstance(line, str) else line for line in exported["lines"]]
        asked = {r["message_id"] for r in records if r.get("type") == "message"}
        ended = {r["message_id"] for r in records if r.get("type") in ("chat.done", "chat.error")}
        if asked - ended:
            return True
    return False


@pytest.mark.attack(69)
@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    await storm(tmp_path, 24)


@pytest.mark.slow
@pytest.mark.timeout(3000)
async def test_nothing_is_lost_by_hundreds_of_kills(tmp_path: Path) -> None:
    await storm(tmp_path, 300)
