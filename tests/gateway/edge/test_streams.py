"""Messages and their events over the socket: order, coming back, slow readers, limits, repeats."""

import asyncio
import itertools
import json
import random
import socket as sockets
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import websockets

from agent.sessions.jsonl_store import JsonlStore
from bus.commands import COMMANDS
from tests.fakes.disks import WaitingDisk
from tests.fakes.openai_server import OpenAIServer
from tests.gateway.edge.harness import Wire, bearer, running


async def test_the_result_comes_first_and_every_number_once(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire, gateway.client() as other:
        key = "agent:main:websocket:direct:alice"
        assert await other.call("session.subscribe", session_key=key) == {"last_seq": 0, "replayed": 0}
        await wire.send({"jsonrpc": "2.0", "id": 1, "method": "chat.send_stream", "params": {"text": "count to 10"}})
        first = await wire.raw()
        assert first["id"] == 1 and set(first["result"]) == {"message_id", "session_key", "seq"}
        accepted = first["result"]
        assert accepted["session_key"] == key
        done = await wire.done(accepted["message_id"])
        assert [e["seq"] for e in wire.events] == list(range(accepted["seq"] + 1, done["seq"] + 1))
        assert next(e["type"] for e in wire.events) == "chat.started"
        assert "".join(e["delta"] for e in wire.events if e["type"] == "chat.delta") == done["text"]
        assert set(done) >= {"type", "session_key", "message_id", "seq", "text", "finish_reason", "usage"}
        await other.done(accepted["message_id"])
        assert other.events[0] == {
            "type": "chat.message", "session_key": key, "message_id": accepted["message_id"], "seq": accepted["seq"],
            "role": "user", "text": "count to 10", "channel": "websocket",
        }  # fmt: skip
        assert other.events[1:] == wire.events
        second = await wire.call("chat.send", text="hello")
        assert set(second) == {"message_id", "session_key", "text", "timestamp", "finish_reason", "usage"}
        assert wire.events[-1] == done
        await other.done(second["message_id"])
        assert [e["seq"] for e in other.events] == list(range(1, len(other.events) + 1))
        assert await other.call("session.unsubscribe", session_key=key)
        await wire.call("chat.send", text="hello")
        assert (await other.call("health"))["status"] == "ok"
        assert other.events[-1]["message_id"] == second["message_id"]


async def test_events_in_a_batch_come_after_its_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        await wire.send([
            {"jsonrpc": "2.0", "id": 1, "method": "chat.send_stream", "params": {"text": "say a"}},
            {"jsonrpc": "2.0", "id": 2, "method": "chat.send", "params": {"text": "count to 20"}},
        ])  # fmt: skip
        answers = await wire.raw()
        assert {a["id"] for a in answers} == {1, 2}
        accepted = next(a["result"] for a in answers if a["id"] == 1)
        await wire.done(accepted["message_id"])
        assert wire.events[0]["seq"] == accepted["seq"] + 1


@pytest.mark.attack(76)
async def test_a_client_cut_again_and_again_gets_the_identical_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.client() as wire:
            accepted = await wire.call("chat.send_stream", text="count to 100", session_key="s")
            await wire.event("chat.delta")
            seen = list(wire.events)
        last = seen[-1]["seq"]
        while seen[-1]["type"] != "chat.done":
            async with gateway.client() as wire:
                answer = await wire.call("session.subscribe", session_key="s", after_seq=last)
                assert answer["last_seq"] >= last
                for _ in range(random.randrange(1, 12)):
                    frame = await wire.raw()
                    seen.append(frame["params"])
                    if seen[-1]["type"] == "chat.done":
                        break
                wire.socket.transport.abort()
            last = seen[-1]["seq"]
        assert [e["seq"] for e in seen] == list(range(accepted["seq"] + 1, last + 1))
        assert "".join(e["delta"] for e in seen if e["type"] == "chat.delta") == seen[-1]["text"]


@pytest.mark.attack(76)
async def test_after_the_window_it_is_1010_and_the_history(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        done = {"seq": 0}
        for _ in range(4):
            accepted = await wire.call("chat.send_stream", text="count to 90", session_key="s")
            done = await wire.done(accepted["message_id"])
        last = done["seq"]
        assert last > 301
        async with gateway.client() as late:
            assert await late.code("session.subscribe", session_key="s", after_seq=last - 301) == 1010
            assert await late.code("session.subscribe", session_key="s", after_seq=last + 5) == 1010
            answer = await late.call("session.subscribe", session_key="s", after_seq=last - 300)
            assert answer == {"last_seq": last, "replayed": 300}
            replayed = [(await late.raw())["params"]["seq"] for _ in range(300)]
            assert replayed == list(range(last - 299, last + 1))
            assert await late.call("session.subscribe", session_key="s", after_seq=last) == {
                "last_seq": last, "replayed": 0,
            }  # fmt: skip
            history = await late.call("chat.history", session_key="s", limit=3)
            assert len(history["messages"]) == 3 and history["has_more"] is True
            before = history["messages"][0]["seq"]
            older = await late.call("chat.history", session_key="s", limit=50, before_seq=before)
            assert older["has_more"] is False and len(older["messages"]) == 5
            assert all(m["seq"] < before for m in older["messages"])


@pytest.mark.attack(79)
async def test_a_repeat_is_one_turn_and_tells_its_story_again(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        said: dict[str, Any] = {"text": "count to 12", "session_key": "s", "idempotency_key": "k"}
        first = await wire.call("chat.send_stream", **said)
        done = await wire.done(first["message_id"])
        story = list(wire.events)
        async with gateway.client() as again:
            assert await again.call("chat.send_stream", **said) == first
            assert await again.done(first["message_id"]) == done
            assert again.events == story
            assert (await again.call("chat.send", **said))["text"] == done["text"]
            for other in ({"text": "other"}, {"session_key": "t"}, {"media": [{"data": "aGk=", "mime": "text/plain"}]}):
                assert await again.code("chat.send_stream", **(said | other)) == 1008
        history = await wire.call("chat.history", session_key="s")
        assert len(history["messages"]) == 2


@pytest.mark.attack(79)
async def test_a_repeat_in_mid_answer_and_one_after_a_restart(tmp_path: Path) -> None:
    said: dict[str, Any] = {"text": "count to 60", "session_key": "s", "idempotency_key": "k"}
    async with running(tmp_path) as gateway, gateway.client() as wire:
        first = await wire.call("chat.send_stream", **said)
        await wire.event("chat.delta")
        async with gateway.client() as again:
            results = await asyncio.gather(again.call("chat.send_stream", **said))
            assert results == [first]
            done = await again.done(first["message_id"])
            assert [e["seq"] for e in again.events] == list(range(first["seq"] + 1, done["seq"] + 1))
    async with running(tmp_path) as gateway, gateway.client() as wire:
        assert await wire.call("chat.send_stream", **said) == first
        told = await wire.done(first["message_id"])
        assert (told["seq"], told["text"]) == (done["seq"], done["text"])
        assert (await wire.call("session.subscribe", session_key="s", after_seq=done["seq"]))["replayed"] == 0
        following = await wire.call("chat.send_stream", text="hello", session_key="s")
        assert following["seq"] == done["seq"] + 1


@pytest.mark.attack(79)
async def test_a_repeat_is_told_no_end_before_it_is_on_the_disk_and_then_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = WaitingDisk()
    monkeypatch.setattr("gateway.composition.JsonlStore", partial(JsonlStore, disk=disk))
    said: dict[str, Any] = {"text": "count to 8", "session_key": "s", "idempotency_key": "k"}
    async with running(tmp_path) as gateway, gateway.client() as wire:
        first = await wire.call("chat.send_stream", **said)
        await wire.event("chat.delta")
        disk.open.clear()
        async with gateway.client() as again, gateway.client() as waiting:
            while not any(e.get("delta", "").strip() == "8" for e in wire.events):
                await wire._read()
            await asyncio.sleep(0.1)  # the end is in the log, and on its way to the disk
            whole = asyncio.ensure_future(waiting.call("chat.send", **said))
            assert await again.call("chat.send_stream", **said) == first
            await asyncio.sleep(0.1)
            assert not whole.done() and not any(e["type"] == "chat.done" for e in wire.events + again.events)
            disk.open.set()
            done = await again.done(first["message_id"])
            assert (await whole)["text"] == done["text"] == "1 2 3 4 5 6 7 8"
            await again.call("health")
            assert [e["seq"] for e in again.events] == list(range(first["seq"] + 1, done["seq"] + 1))


@pytest.mark.attack(28)
async def test_the_limit_is_the_persons_not_the_sockets(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"messages_per_minute": 5, "drain_seconds": 0.1}) as gateway:
        codes = []
        for _ in range(4):
            async with gateway.client() as wire:
                codes.append(await wire.code("chat.send_stream", text="/help"))
        codes.append((await gateway.rpc("chat.send", "alice", text="/help")).get("error", {}).get("code", 0))
        async with gateway.client() as wire:
            answer = await wire.ask("chat.send_stream", text="/help")
            codes.append(answer["error"]["code"])
            assert 0 < answer["error"]["data"]["retry_after_ms"] <= 60_000
            assert answer["error"]["data"]["retryable"] is True
            body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
            async with gateway.http.post(
                gateway.url + "/v1/chat/completions", json=body, headers=bearer("alice")
            ) as response:
                assert response.status == 429
                assert int(response.headers["Retry-After"]) >= 1
        assert codes == [0] * 5 + [1005]
        async with gateway.client("bob") as bob:
            assert await bob.code("chat.send_stream", text="/help") == 0


async def test_a_repeat_is_no_further_message(tmp_path: Path) -> None:
    """Whoever lost his connection gets his answer, though his minute is used up; and repeats use up none of it."""
    async with running(tmp_path, limits={"messages_per_minute": 2, "drain_seconds": 0.1}) as gateway:
        async with gateway.client() as wire:
            for _ in range(4):
                first = await wire.call("chat.send_stream", text="/help", idempotency_key="one")
            assert await wire.code("chat.send", text="/status", idempotency_key="one") == 1008
            assert await wire.code("chat.send", text="/status", idempotency_key="two") == 0
            assert await wire.code("chat.send", text="/status", idempotency_key="three") == 1005
            assert await wire.call("chat.send_stream", text="/help", idempotency_key="one") == first
            assert await wire.code("chat.send", text="/other", idempotency_key="one") == 1008
            assert await wire.code("chat.send", text="/status", idempotency_key="three") == 1005
        again = await gateway.rpc("chat.send", "alice", text="/help", idempotency_key="one")
        assert again["result"]["message_id"] == first["message_id"]
        other = await gateway.rpc("chat.send", "bob", text="/help", idempotency_key="one")
        assert other["result"]["message_id"] != first["message_id"]


@pytest.mark.attack(29)
async def test_a_reader_that_stops_reading_is_let_go_and_nobody_else_notices(tmp_path: Path) -> None:
    word = "x" * 500 + " "
    model = OpenAIServer()
    async with model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "m"}
        async with running(tmp_path, models=[entry]) as gateway:
            narrow = sockets.socket()
            narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            narrow.connect(("127.0.0.1", gateway.port))
            narrow.setblocking(False)
            async with (
                websockets.connect(
                    gateway.ws, sock=narrow, additional_headers=bearer("alice"), proxy=None, max_size=None,
                    max_queue=None, compression=None, ping_interval=None,
                ) as slow,
                gateway.client("alice") as reader, gateway.client("bob") as canary,
            ):  # fmt: skip
                wire = Wire(slow)
                await wire.call("session.subscribe", session_key="agent:main:websocket:direct:alice")
                slow.transport.pause_reading()
                for _ in range(6):
                    await reader.call("chat.send_stream", text=word * 1700)
                    last: dict[str, Any] = {"type": ""}
                    while last["type"] != "chat.done":
                        last = (await reader.raw())["params"]
                    assert len(last["text"]) > 200_000
                    assert (await canary.call("health"))["status"] == "ok"
                slow.transport.resume_reading()
                assert await wire.close_code(20) == 4008
                numbers = [(e.get("from_seq", e["seq"]), e["seq"]) for e in wire.events]
                assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(numbers))


@pytest.mark.attack(77)
async def test_a_peer_that_is_gone_without_a_word_is_noticed(tmp_path: Path) -> None:
    async with running(tmp_path, server={"heartbeat_seconds": 0.4}) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            f"Authorization: {bearer('alice')['Authorization']}\r\n\r\n".encode()
        )
        assert b"101" in await reader.readline()
        status = (await gateway.rpc("health"))["result"]
        assert status["status"] == "ok"
        async with asyncio.timeout(3):
            while await reader.read(4096):
                pass
        writer.close()
        async with gateway.http.get(gateway.url + "/status", headers=bearer("root")) as response:
            assert (await response.json())["connections"] == 0


@pytest.mark.attack(78)
async def test_a_crowd_drops_at_once_and_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("bob") as canary:

        async def connect() -> Any:
            return await websockets.connect(
                gateway.ws, additional_headers=bearer("alice"), proxy=None, compression=None, open_timeout=30
            )

        for _ in range(2):
            crowd = await asyncio.gather(*(connect() for _ in range(400)))
            assert (await canary.call("health"))["status"] == "ok"
            for socket in crowd:
                socket.transport.abort()
        for socket in crowd:
            await socket.wait_closed()


async def test_abort_by_session_and_by_message(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        assert await wire.code("chat.abort", session_key="s") == 1003
        assert await wire.code("chat.abort", message_id="msg_none") == 1003
        accepted = await wire.call("chat.send_stream", text="count to 500", session_key="s")
        await wire.event("chat.delta")
        assert await wire.call("chat.abort", message_id=accepted["message_id"]) == {"aborted": True}
        ended = await wire.done(accepted["message_id"])
        assert (ended["type"], ended["code"], ended["retryable"]) == ("chat.error", 1009, False)
        assert await wire.call("chat.abort", session_key="s") == {"aborted": False}
        waiting = asyncio.ensure_future(gateway.rpc("chat.send", "alice", text="count to 500", session_key="t"))
        await asyncio.sleep(0.2)
        assert await wire.call("chat.abort", session_key="t") == {"aborted": True}
        assert (await waiting)["error"]["code"] == 1009


async def test_editing_a_message_of_ones_own(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire, gateway.client("bob") as bob:
        first = await wire.call("chat.send", text="say one", session_key="s")
        assert await wire.code("chat.send", text="x", session_key="s", replaces="msg_none") == -32602
        assert await bob.code("chat.send", text="x", session_key="s", replaces=first["message_id"]) == -32602
        await wire.call("chat.send", text="say two", session_key="s", replaces=first["message_id"])
        shown = json.dumps(await wire.call("chat.history", session_key="s"))
        assert "say two" in shown and "say one" not in shown


async def test_sessions_are_renamed_found_exported_and_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        await wire.call("chat.send", text="the quick brown fox", session_key="s")
        assert await wire.call("session.rename", session_key="s", title="Fox") == {"title": "Fox"}
        listed = (await wire.call("session.list"))["sessions"]
        assert [(s["session_key"], s["title"], s["message_count"]) for s in listed] == [("s", "Fox", 2)]
        assert set(listed[0]) == {
            "session_key", "agent_id", "channel", "peer_id", "title", "created_at", "updated_at", "message_count",
        }  # fmt: skip
        hits = (await wire.call("session.search", query="brown"))["hits"]
        assert hits and set(hits[0]) == {"session_key", "seq", "snippet"} and hits[0]["session_key"] == "s"
        lines = [json.loads(line) for line in (await wire.call("session.export", session_key="s"))["lines"]]
        assert lines[0]["session_key"] == "s" and lines[0]["version"]
        last = (await wire.call("session.subscribe", session_key="s"))["last_seq"]
        running_turn = await wire.call("chat.send_stream", text="count to 500", session_key="s")
        assert await wire.call("session.delete", session_key="s") == {"deleted": True}
        assert (await wire.done(running_turn["message_id"]))["code"] == 1009
        assert await wire.code("chat.history", session_key="s") == 1003
        assert await wire.code("session.delete", session_key="s") == 1003
        assert (await wire.call("session.list"))["sessions"] == []
        revived = await wire.call("chat.send_stream", text="hello", session_key="s")
        assert revived["seq"] > last
        await wire.done(revived["message_id"])
        history = await wire.call("chat.history", session_key="s")
        assert next(m["text"] for m in history["messages"]) == "hello"


async def test_a_slash_command_is_a_message_like_any_other(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        accepted = await wire.call("chat.send_stream", text="/help")
        done = await wire.done(accepted["message_id"])
        assert done["type"] == "chat.done" and "/stop" in done["text"]
        assert "/pair" not in done["text"]
        forbidden = await wire.call("chat.send", text="/pair list")
        assert "admin" in forbidden["text"]
        assert "中文" in (await wire.call("chat.send", text="/language zh"))["text"]
        assert "显示" in (await wire.call("chat.send", text="/help"))["text"]
        async with gateway.client("boss") as boss:
            assert (await boss.call("chat.send", text="/pair list"))["text"]
            assert "telegram" in (await boss.call("chat.send", text="/channels"))["text"]
            for text in ("/delivery list", "/usage", "/bridge", "/status", "/sessions", "/tools", "/approvals"):
                assert (await boss.call("chat.send", text=text))["text"]


@pytest.mark.attack(61)
async def test_a_command_of_admins_is_refused_by_the_check_of_its_method(tmp_path: Path) -> None:
    """Whatever is typed behind it; and what is no command of ours is a message, whoever configures other bots so."""
    async with running(tmp_path) as gateway, gateway.client() as wire, gateway.client("boss") as boss:
        before = await boss.call("pairing.list")
        for command in (command for command in COMMANDS if command.admin):
            for text in (f"/{command.name}", f"/{command.name.upper()} list", f"/{command.name} approve ABCD2345"):
                answered = await wire.call("chat.send", text=text)
                assert answered["text"] == "this command is for admins"
        for method, params in (
            ("pairing.list", {}), ("pairing.approve", {"code": "ABCD2345"}),
            ("delivery.list", {}), ("delivery.resend", {"id": "d_1"}),
        ):  # fmt: skip
            assert await wire.code(method, **params) == 1002
        for text in ("/allowlist add mallory", "/config set admin mallory", "/reload"):
            assert not (await wire.call("chat.send", text=text))["text"].startswith("this command")
        assert await boss.call("pairing.list") == before


@pytest.mark.parametrize(("said", "answered"), [("猫", "没有关于你的记忆。"), ("猫です", "I remember nothing of you.")])
async def test_who_says_no_language_is_answered_in_the_one_he_writes(tmp_path: Path, said: str, answered: str) -> None:
    async with running(tmp_path) as gateway:
        answer = await gateway.rpc("chat.send", "alice", text=f"/memory {said}")
        assert answer["result"]["text"] == answered
