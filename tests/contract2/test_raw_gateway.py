"""A gateway written from the contract that a real bridge dials."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract2.peers import Link, RawGateway

REAL = str(Path(__file__).parent.parent / "bridge" / "real_server.py")
EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")


class Laptop:
    """`python -m bridge` with a configuration of its own."""

    def __init__(self, folder: Path, url: str, **more: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.effects = folder / "effects"
        self.file = folder / "config.yaml"
        tools = more.pop("tools", {"allow": ["*"]})
        self.file.write_text(json.dumps({
            "version": "1.0",
            "server": {"url": url, "token": "${AI_BRIDGE_TOKEN}", "name": "laptop", "reconnect_interval": "200ms"},
            "mcp_servers": [
                {"name": "real", "command": sys.executable, "args": [REAL, "stdio"], "tools": tools},
                {"name": "fx", "command": sys.executable, "args": [EFFECTS, str(self.effects)], "tools": tools},
            ],
            "policy": {"default": "ask", "ask_timeout": "60s", "confirm": "chat", **more.pop("policy", {})},
            **more,
        }))  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "AI_BRIDGE_TOKEN": "t0ken", "AI_BRIDGE_CONFIG": str(self.file)}

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "run"], env=self.environment, stdout=log, stderr=log
            )

    async def command(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        def run() -> tuple[int, str, str]:
            done = subprocess.run(
                [sys.executable, "-m", "bridge", *arguments], env=self.environment, input=stdin, capture_output=True,
                text=True, timeout=60, check=False,
            )  # fmt: skip
            return done.returncode, done.stdout, done.stderr

        return await asyncio.to_thread(run)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)

    def lines(self) -> list[str]:
        return self.effects.read_text().splitlines() if self.effects.exists() else []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@asynccontextmanager
async def connected(tmp_path: Path, **more: Any) -> AsyncIterator[tuple[RawGateway, Laptop, Link]]:
    async with RawGateway() as gateway:
        laptop = Laptop(tmp_path / "laptop", gateway.url, **more)
        laptop.start()
        try:
            link = await gateway.link()
            await link.catalogue()
            yield gateway, laptop, link
        finally:
            await laptop.stop()


def refusals(link: Link, code: int) -> list[dict[str, Any]]:
    return [f for f in link.of("ERROR") if f["payload"]["code"] == code and f.get("id") is None]


async def test_hello_and_calls(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, laptop, link):
        hello = link.hello
        assert hello["token"] == "t0ken"
        payload = hello["payload"]
        assert set(payload) >= {"protocol", "bridge_id", "boot_id", "name", "client", "in_flight"}
        assert payload["protocol"] == {"min": 1, "max": 1} and payload["name"] == "laptop"
        assert set(payload["client"]) == {"name", "version", "os"} and payload["in_flight"] == []
        catalogue = await link.catalogue()
        assert {"revision", "servers", "tools", "resources", "prompts"} <= set(catalogue)
        names = {tool["name"]: tool for tool in catalogue["tools"]}
        assert {"real_add", "fx_append_line"} <= set(names)
        assert set(names["real_add"]) >= {"name", "server", "description", "inputSchema", "policy"}
        assert names["real_add"]["policy"] == "allow" and names["real_add"]["server"] == "real"
        assert catalogue["resources"][0]["uri"] == "memo://today" and catalogue["resources"][0]["server"] == "real"
        assert catalogue["prompts"][0]["name"].endswith("greet") and catalogue["prompts"][0]["server"] == "real"

        await link.ask("c1", "real_add", {"a": 2, "b": 3})
        answer = await link.ended("c1")
        assert answer["type"] == "MCP_RESPONSE" and answer["payload"]["result"]["content"][0]["text"] == "5"
        await link.send("ACK", None, {"of": "c1"})

        await link.send("PING", "p", {"t": 9})
        assert (await link.nth("PING"))["payload"] == {"t": 9, "pong": True}

        await link.ask("r1", "memo://today", method="resources/read", server="real")
        answer = await link.ended("r1")
        assert answer["payload"]["result"]["contents"][0]["text"] == "buy milk", answer
        await link.ask("p1", catalogue["prompts"][0]["name"], {"name": "Bo"}, method="prompts/get")
        answer = await link.ended("p1")
        assert "Say hello to Bo" in json.dumps(answer), answer

        for n, (name, method, more) in enumerate([
            ("nope_tool", "tools/call", {}), ("nope_read", "prompts/get", {}),
            ("memo://today", "resources/read", {"server": "nobody"}), ("x", "sampling/createMessage", {}),
        ]):  # fmt: skip
            await link.ask(f"u{n}", name, {}, method=method, **more)
            answer = await link.ended(f"u{n}")
            assert answer["type"] == "ERROR" and answer["payload"]["code"] == (1003, 1003, 2004, 2004)[n], answer
            assert answer["payload"]["effect"] == "none" and answer["payload"]["scope"] == "call"
            assert set(answer["payload"]) >= {"code", "message", "scope", "retryable", "effect"}

        # wrong signature, another epoch, a replay: 2000, without an id, ending nothing
        bad = link.request("b1", "fx_append_line", {"line": "bad"})
        await link.socket.send(json.dumps(bad | {"sig": "0" * 64}))
        await link.until(lambda: len(refusals(link, 2000)) == 1)
        tampered = link.request("b2", "fx_append_line", {"line": "good"})
        tampered["payload"]["params"]["arguments"]["line"] = "evil"
        await link.socket.send(json.dumps(tampered))
        await link.until(lambda: len(refusals(link, 2000)) == 2)
        stale = link.request("b3", "fx_append_line", {"line": "stale"}, epoch=link.epoch - 1)
        await link.socket.send(json.dumps(stale))
        await link.until(lambda: len(refusals(link, 2000)) == 3)
        unsigned = link.request("b4", "fx_append_line", {"line": "unsigned"})
        del unsigned["sig"]
        await link.socket.send(json.dumps(unsigned))
        await link.until(lambda: len(refusals(link, 2000)) == 4)
        once = await link.ask("w1", "fx_append_line", {"line": "one"})
        first = await link.ended("w1")
        await link.socket.send(json.dumps(once))
        await link.until(lambda: len(refusals(link, 2000)) == 5)
        # the same again with a higher attempt: the stored answer
        await link.ask("w1", "fx_append_line", {"line": "one"}, attempt=2)
        assert (await link.ended("w1", 2))["payload"] == first["payload"]
        assert laptop.lines() == ["one"]
        # same key, other arguments
        await link.ask("w2", "fx_append_line", {"line": "two"}, key="key-w1")
        conflict = await link.ended("w2")
        assert conflict["type"] == "ERROR" and conflict["payload"]["code"] == 1008 and laptop.lines() == ["one"]
        await link.send("NEW", None, {}, must_understand=True)
        await link.until(lambda: refusals(link, 1000))
        await link.send("NEW", None, {})

        # an error of the server is a response
        await link.ask("e1", "real_add", {"a": "x"})
        answer = await link.ended("e1")
        assert answer["type"] == "MCP_RESPONSE", answer
        # arguments absent
        await link.ask("g1", "real_grow")
        assert (await link.ended("g1"))["type"] == "MCP_RESPONSE"


async def test_deadline_cancel_death(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, _laptop, link):
        await link.ask("d1", "real_slow", {"seconds": 5}, deadline_ms=300)
        late = await link.ended("d1")
        assert late["type"] == "ERROR" and late["payload"]["code"] == 1004 and late["payload"]["effect"] == "unknown"
        assert (await link.progress("d1", "running"))["state"] == "running"
        await link.ask("c1", "real_slow", {"seconds": 5})
        await link.progress("c1", "running")
        await link.send("CANCEL", "c1", {"reason": "stop"})
        stopped = await link.ended("c1")
        assert stopped["type"] == "ERROR" and stopped["payload"]["code"] == 1009
        assert stopped["payload"]["effect"] == "unknown"
        await link.send("CANCEL", "never", {"reason": "stop"})
        never = await link.ended("never")
        assert never["payload"]["code"] in (1003, 1009)
        await link.ask("k1", "real_die", {})
        died = await link.ended("k1")
        assert died["type"] == "ERROR" and died["payload"]["code"] == 2006 and died["payload"]["effect"] == "unknown"


@pytest.mark.quiet
async def test_big_result_under_credit(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, _laptop, link):
        await link.ask("big", "real_blow_up", {"size": 10_000_000}, deadline_ms=60000)
        await link.until(lambda: link.of("CHUNK"))
        await asyncio.sleep(0.5)
        before = sum(len(f["payload"]["data"].encode()) for f in link.of("CHUNK"))
        assert 0 < before <= 1 << 20
        await link.ask("small", "real_add", {"a": 1, "b": 1})
        begun = time.monotonic()
        await link.ended("small")
        assert time.monotonic() - begun < 1
        seen = 0
        parts: list[str] = []
        while True:
            chunks = await link.until(lambda s=seen: link.of("CHUNK")[s:], 20)
            size = 0
            for frame in chunks:
                assert frame["id"] == "big" and frame["payload"]["n"] == seen
                parts.append(frame["payload"]["data"])
                size += len(frame["payload"]["data"].encode())
                seen += 1
            if chunks[-1]["payload"]["last"]:
                break
            await link.send("WINDOW", "big", {"credit": size})
            await link.send("WINDOW", None, {"credit": size})
        whole = json.loads("".join(parts))
        assert len(json.dumps(whole["result"])) > 20_000_000
        assert len(json.dumps(whole)) and whole["id"] == "big"
        await link.send("ACK", None, {"of": "big"})
        await link.ask("huge", "real_blow_up", {"size": 20_000_000}, deadline_ms=60000)
        too_large = await link.ended("huge", seconds=30)
        assert too_large["type"] == "ERROR" and too_large["payload"]["code"] == 2005


async def test_across_reconnects(tmp_path: Path) -> None:
    async with connected(tmp_path) as (gateway, laptop, link):
        await link.ask("s1", "fx_append_slowly", {"line": "slow", "seconds": 1.0})
        async with asyncio.timeout(5):
            while not laptop.lines():
                await asyncio.sleep(0.02)
        link.socket.transport.abort()
        again = await gateway.link(2)
        assert {"id": "s1", "state": "running"} in again.hello["payload"]["in_flight"] or {
            "id": "s1", "state": "done"
        } in again.hello["payload"]["in_flight"]  # fmt: skip
        assert again.hello["payload"]["boot_id"] == link.hello["payload"]["boot_id"]
        assert again.hello["payload"]["bridge_id"] == link.hello["payload"]["bridge_id"]
        await again.ask("s1", "fx_append_slowly", {"line": "slow", "seconds": 1.0}, attempt=2)
        answer = await again.ended("s1")
        assert answer["type"] == "MCP_RESPONSE" and laptop.lines() == ["slow"]
        await again.catalogue()
        # a kill in mid-call: never again by itself
        await again.ask("k1", "fx_append_slowly", {"line": "killed", "seconds": 5})
        async with asyncio.timeout(5):
            while "killed" not in laptop.lines():
                await asyncio.sleep(0.02)
        await laptop.stop(signal.SIGKILL)
        laptop.start()
        third = await gateway.link(3)
        assert third.hello["payload"]["boot_id"] != link.hello["payload"]["boot_id"]
        await third.catalogue()
        await third.ask("k1", "fx_append_slowly", {"line": "killed", "seconds": 5}, attempt=2)
        unknown = await third.ended("k1")
        assert unknown["type"] == "ERROR" and unknown["payload"]["code"] == 2006
        assert unknown["payload"]["effect"] == "unknown" and laptop.lines() == ["slow", "killed"]
        # what was answered and never acknowledged is there still
        await third.ask("s1", "fx_append_slowly", {"line": "slow", "seconds": 1.0}, attempt=3)
        assert (await third.ended("s1"))["type"] == "MCP_RESPONSE" and laptop.lines() == ["slow", "killed"]


@pytest.mark.parametrize("confirm", ["chat", "local"])
async def test_asking(tmp_path: Path, confirm: str) -> None:
    async with connected(tmp_path, tools={"allow": ["add"]}, policy={"confirm": confirm}) as (_gateway, laptop, link):
        frame = {"line": "x"}
        await link.ask("q1", "fx_append_line", frame, deadline_ms=3000)
        asked = await link.progress("q1", "awaiting_confirm")
        assert set(asked) >= {"state", "challenge", "risk", "arguments", "expires_in_ms"}
        assert asked["arguments"] == frame and 0 < asked["expires_in_ms"] <= 60000
        assert asked.get("where") == ("bridge" if confirm == "local" else None)
        yes = {"challenge": asked["challenge"], "decision": "allow_once", "by": "alice", "at": "2026-11-20T12:00:00Z"}
        if confirm == "chat":
            await link.ask("q1", "fx_append_line", frame, attempt=2, confirm=yes)
            assert (await link.ended("q1"))["type"] == "MCP_RESPONSE" and laptop.lines() == ["x"]
            # used
            await link.ask("q2", "fx_append_line", frame, confirm=yes)
            used = await link.ended("q2")
            assert used["type"] == "ERROR" and used["payload"]["code"] == 2004 and used["payload"]["effect"] == "none"
            await link.ask("q3", "fx_append_line", frame)
            asked = await link.progress("q3", "awaiting_confirm")
            no = yes | {"challenge": asked["challenge"], "decision": "deny"}
            await link.ask("q3", "fx_append_line", frame, attempt=2, confirm=no)
            denied = await link.ended("q3")
            assert denied["payload"]["code"] == 2004 and denied["payload"]["effect"] == "none"
            # always, with any arguments; never for dangerous words
            await link.ask("q4", "fx_append_line", frame)
            asked = await link.progress("q4", "awaiting_confirm")
            always = yes | {"challenge": asked["challenge"], "decision": "allow_always"}
            await link.ask("q4", "fx_append_line", frame, attempt=2, confirm=always)
            await link.ended("q4")
            await link.ask("q5", "fx_append_line", {"line": "other"})
            assert (await link.ended("q5"))["type"] == "MCP_RESPONSE"
            bob = {"user": "bob", "channel": "websocket"}
            await link.ask("q6", "fx_append_line", frame, actor=bob)
            asked = await link.progress("q6", "awaiting_confirm")
            no = yes | {"challenge": asked["challenge"], "decision": "deny", "by": "bob"}
            await link.ask("q6", "fx_append_line", frame, attempt=2, confirm=no, actor=bob)
            assert (await link.ended("q6"))["payload"]["code"] == 2004
        else:
            await link.ask("q1", "fx_append_line", frame, attempt=2, confirm=yes)
            await asyncio.sleep(0.3)
            assert laptop.lines() == []
            assert not [f for f in link.of("MCP_RESPONSE") if f["id"] == "q1"]
            code, out, error = await laptop.command("approve", asked["challenge"])
            assert code == 0, (out, error)
            assert (await link.ended("q1"))["type"] == "MCP_RESPONSE" and laptop.lines() == ["x"]
            assert (await laptop.command("approve", asked["challenge"]))[0] == 1
            assert (await laptop.command("approve", "unknown"))[0] == 1
        # allowed ones are not asked; denied ones are not run
        await link.ask("a1", "real_add", {"a": 1, "b": 1})
        assert (await link.ended("a1"))["type"] == "MCP_RESPONSE"
    assert (await laptop.command("audit", "verify"))[0] == 0


async def test_local_approval_serves_chat_mode_too_and_expiry(tmp_path: Path) -> None:
    more: dict[str, Any] = {"tools": {"deny": ["append_slowly"]}, "policy": {"ask_timeout": "500ms"}}
    async with connected(tmp_path, **more) as (_gateway, laptop, link):
        await link.ask("q1", "fx_append_line", {"line": "x"})
        asked = await link.progress("q1", "awaiting_confirm")
        assert 0 < asked["expires_in_ms"] <= 500
        expired = await link.ended("q1")
        assert expired["payload"]["code"] == 2004 and expired["payload"]["effect"] == "none"
        yes = {"challenge": asked["challenge"], "decision": "allow_once", "by": "alice", "at": "2026-11-20T12:00:00Z"}
        await link.ask("q1", "fx_append_line", {"line": "x"}, attempt=2, confirm=yes)
        assert (await link.ended("q1", 2))["payload"]["code"] == 2004
        await link.ask("d1", "fx_append_slowly", {"line": "x"})
        denied = await link.ended("d1")
        assert denied["payload"]["code"] == 2004 and denied["payload"]["effect"] == "none"
        assert laptop.lines() == []


async def test_elicitation(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, _laptop, link):
        await link.ask("q1", "real_paint", {})
        asked = await link.progress("q1", "awaiting_input")
        assert 59_000 < asked["expires_in_ms"] <= 60_000
        assert (
            asked["question_id"] and asked["message"] == "Which colour?" and "colour" in asked["schema"]["properties"]
        )
        answer = {"question_id": asked["question_id"], "action": "accept", "content": {"colour": "red"}}
        await link.ask("q1", "real_paint", {}, attempt=2, answer=answer)
        assert "accept red" in json.dumps(await link.ended("q1"))


@pytest.mark.parametrize(("code", "close"), [(1001, 4501), (1002, 4503), (1000, 4505)])
async def test_refused_for_good(tmp_path: Path, code: int, close: int) -> None:
    async with RawGateway() as gateway:
        gateway.refuse = (code, close)
        laptop = Laptop(tmp_path / "laptop", gateway.url)
        laptop.start()
        assert laptop.process is not None
        assert await asyncio.to_thread(laptop.process.wait, 20) == 3
        assert laptop.log.strip()


async def test_going_away(tmp_path: Path) -> None:
    async with connected(tmp_path) as (gateway, laptop, link):
        await link.send("GOAWAY", None, {"reason": "drain", "reconnect_after_ms": 50})
        second = await gateway.link(2)
        assert second.hello["payload"]["boot_id"] == link.hello["payload"]["boot_id"]
        await link.socket.close(1001)
        await second.catalogue()
        await second.ask("a", "real_add", {"a": 1, "b": 2})
        await second.ended("a")
        await second.socket.close(4029)
        third = await gateway.link(3)
        await third.catalogue()
        await third.send("GOAWAY", None, {"reason": "revoked", "reconnect_after_ms": 0})
        await third.socket.close(4501, "revoked")
        assert laptop.process is not None
        assert await asyncio.to_thread(laptop.process.wait, 20) == 3


async def test_replaced_exits(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, laptop, link):
        await link.socket.close(4509, "replaced")
        assert laptop.process is not None
        assert await asyncio.to_thread(laptop.process.wait, 20) == 3


async def test_dangerous(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_gateway, laptop, link):
        await link.ask("x", "fx_append_line", {"line": "rm -rf"})
        assert (await link.ended("x"))["type"] == "MCP_RESPONSE"  # its name does not speak of a shell
        assert laptop.lines() == ["rm -rf"]


async def test_commands(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path / "laptop", "ws://127.0.0.1:9/v1/tunnel", tools={"allow": ["add"], "deny": ["die"]})
    code, out, error = await laptop.command("check")
    assert code == 0, (out, error)
    code, out, error = await laptop.command("tools")
    assert code == 0 and "real_add" in out, (out, error)
    code, out, error = await laptop.command("call", "real_add", '{"a": 1, "b": 2}')
    assert code == 0 and "3" in out, (out, error)
    assert (await laptop.command("call", "fx_append_line", '{"line": "l"}'))[0] == 5
    assert laptop.lines() == []
    assert (await laptop.command("call", "fx_append_line", '{"line": "l"}', "--yes"))[0] == 0
    assert (await laptop.command("call", "real_add", '{"a": "x"}'))[0] == 4
    assert (await laptop.command("call", "real_die", "{}", "--yes"))[0] == 5
    assert (await laptop.command("call", "real_add", "nonsense"))[0] == 2
    assert (await laptop.command("call", "real_nope", "{}"))[0] == 1
    assert (await laptop.command("nonsense"))[0] == 2
    assert (await laptop.command("approve", "x"))[0] == 1
    assert (await laptop.command("status"))[0] in (0, 1)
    assert (await laptop.command("audit", "verify"))[0] == 0
    assert (await laptop.command("audit", "tail"))[0] == 0
    laptop.file.write_text(laptop.file.read_text().replace("ws://127.0.0.1:9", "ws://gateway.example"))
    assert (await laptop.command("run"))[0] == 3
    laptop.file.write_text("version: '1.0'\nserver: {url: 'wss://x/v1/tunnel', token: x, nmae: x}\n")
    code, out, error = await laptop.command("run")
    assert code == 2 and "server.nmae" in error and ":2:" in error and "name" in error, error
