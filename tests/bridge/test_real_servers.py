"""Real MCP servers made with the Python SDK, over stdio, Streamable HTTP and SSE: one suite for all three."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError, McpError, TimedOut
from bridge.servers.calls import Progress, Question
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings
from tests.bridge.conftest import call, first_text, running, until

REAL = str(Path(__file__).parent / "real_server.py")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class HttpServer:
    """A server process on a port of its own, which can be killed and started again."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, REAL, self.kind, str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 15
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def settings(self, **more: Any) -> McpServerSettings:
        path = "sse" if self.kind == "sse" else "mcp"
        return McpServerSettings.model_validate(
            {"name": "real", "url": f"http://127.0.0.1:{self.port}/{path}", "transport": self.kind, **more}
        )


@pytest.fixture(scope="module", params=["http", "sse"])
def shared_http(request: pytest.FixtureRequest) -> Iterator[HttpServer]:
    server = HttpServer(request.param)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def http_server() -> Iterator[Callable[[str], HttpServer]]:
    made: list[HttpServer] = []

    def make(kind: str) -> HttpServer:
        made.append(HttpServer(kind))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.kill()


def stdio(**more: Any) -> McpServerSettings:
    return McpServerSettings.model_validate({
        "name": "real", "command": sys.executable, "args": [REAL, "stdio"], "inherit_env": ["AI_BRIDGE_TEST"], **more,
    })  # fmt: skip


@asynccontextmanager
async def each_kind(kind: str, server: HttpServer | None) -> AsyncIterator[ServerOwner]:
    settings = stdio() if server is None else server.settings()
    async with running(settings) as owner:
        assert owner.state == "ready", owner.error
        yield owner


async def _suite(owner: ServerOwner, *, asks: bool = True) -> None:
    assert {tool.name for tool in owner.tools} >= {"add", "note", "slow", "paint"}
    assert [item["uri"] for item in owner.offers.resources] == ["memo://today"]
    assert [item["name"] for item in owner.offers.prompts] == ["greet"]
    result = await call(owner, "add", {"a": 2, "b": 3})
    assert (first_text(result), result["structuredContent"]) == ("5", {"result": 5})
    bad = await call(owner, "add", {"a": "x"})
    assert bad["isError"] is True
    read = await owner.request("resources/read", {"uri": "memo://today"})
    assert read.value["contents"][0]["text"] == "buy milk"
    prompt = await owner.request("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}})
    assert prompt.value["messages"][0]["content"]["text"] == "Say hello to Ada"
    with pytest.raises(McpError):
        await owner.request("resources/read", {"uri": "memo://never"})
    heard: list[Progress] = []
    assert first_text(await call(owner, "slow", {"seconds": 0}, on_progress=heard.append)) == "slept"
    assert heard == [Progress(1, 2, "half")]
    with pytest.raises(TimedOut):
        await call(owner, "slow", {"seconds": 5}, timeout=0.2)
    assert len(first_text(await call(owner, "blow_up", {"size": 2_000_000}))) == 2_000_000

    async def person(question: Question) -> dict[str, Any]:
        assert "colour" in question.schema["properties"]
        return {"action": "accept", "content": {"colour": "blue"}}

    if asks:
        assert first_text(await call(owner, "paint", on_question=person)) == "accept blue"
    else:  # the modern era has no way for a server to ask in the middle of a handler
        with pytest.raises(McpError, match="no back-channel"):
            await call(owner, "paint", on_question=person)
    many = await asyncio.gather(*(call(owner, "add", {"a": n, "b": 0}) for n in range(20)))
    assert [first_text(one) for one in many] == [str(n) for n in range(20)]


async def test_over_stdio() -> None:
    async with each_kind("stdio", None) as owner:
        await _suite(owner)


async def test_over_http(shared_http: HttpServer) -> None:
    async with each_kind(shared_http.kind, shared_http) as owner:
        await _suite(owner)


async def test_the_modern_era_over_stdio() -> None:
    async with running(stdio(protocol="2026-07-28")) as owner:
        assert owner.state == "ready", owner.error
        assert first_text(await call(owner, "add", {"a": 1, "b": 1})) == "2"
        assert [item["uri"] for item in owner.offers.resources] == ["memo://today"]
        await call(owner, "grow")  # told on the stream that the session listens to
        await until(lambda: "grown" in {tool.name for tool in owner.tools})


async def test_the_modern_era_over_http(http_server: Callable[[str], HttpServer]) -> None:
    server = http_server("http")
    async with running(server.settings(protocol="2026-07-28")) as owner:
        assert owner.state == "ready", owner.error
        await _suite(owner, asks=False)


async def test_an_http_server_that_is_killed_comes_back(http_server: Callable[[str], HttpServer]) -> None:
    server = http_server("http")
    async with running(server.settings()) as owner, running(stdio(name="other")) as other:
        slow = asyncio.create_task(call(owner, "slow", {"seconds": 20}))
        await asyncio.sleep(0.3)
        server.kill()
        with pytest.raises(BridgeError) as caught:
            await asyncio.wait_for(slow, 5)
        assert (caught.value.code, caught.value.effect) == (2006, "unknown")
        assert first_text(await call(other, "add", {"a": 1, "b": 1})) == "2"
        server.start()
        assert first_text(await call(owner, "add", {"a": 1, "b": 2}, timeout=20)) == "3"
        assert owner.state == "ready"


async def test_an_http_server_that_forgot_the_session(http_server: Callable[[str], HttpServer]) -> None:
    server = http_server("http")
    async with running(server.settings()) as owner:
        server.kill()
        server.start()
        assert first_text(await call(owner, "note", {"text": "once"}, timeout=20)) == "1"


async def test_a_call_to_an_http_server_that_went_away_was_surely_not_seen(
    http_server: Callable[[str], HttpServer],
) -> None:
    server = http_server("http")
    async with running(server.settings()) as owner:
        assert first_text(await call(owner, "note", {"text": "one"})) == "1"
        server.kill()
        with pytest.raises(BridgeError) as caught:
            await call(owner, "note", {"text": "two"}, timeout=10)
        assert (caught.value.code, caught.value.effect) == (2008, "none")


async def test_a_call_that_was_given_up_is_not_counted_for_ever(
    http_server: Callable[[str], HttpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the modern era no answer ever comes to it: it made every later one look as if it might have been seen."""
    monkeypatch.setattr("bridge.servers.http._GIVEN_UP_SECONDS", 0.0)
    server = http_server("http")
    async with running(server.settings(protocol="2026-07-28")) as owner:
        with pytest.raises(TimedOut):
            await call(owner, "slow", {"seconds": 60}, timeout=0.5)
        assert first_text(await call(owner, "note", {"text": "one"})) == "1"
        server.kill()
        with pytest.raises(BridgeError) as caught:
            await call(owner, "note", {"text": "two"}, timeout=10)
        assert (caught.value.code, caught.value.effect) == (2008, "none")


async def test_an_http_server_that_is_not_there() -> None:
    settings = McpServerSettings(name="gone", url=f"http://127.0.0.1:{free_port()}/mcp")
    async with running(settings, wait=False) as owner:
        await until(lambda: owner.error is not None)
        assert owner.error == "the server can't be reached"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_headers_are_sent_and_secrets_stay_out_of_errors(kind: str) -> None:
    seen: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        settings = McpServerSettings.model_validate({
            "name": "x", "url": f"http://127.0.0.1:{port}/mcp?key=topsecret1", "transport": kind,
            "headers": {"Authorization": "Bearer topsecret2"},
        })  # fmt: skip
        async with running(settings, wait=False) as owner:
            await until(lambda: owner.error is not None)
            assert "topsecret" not in (owner.error or "")
    assert b"Bearer topsecret2" in seen[0]
