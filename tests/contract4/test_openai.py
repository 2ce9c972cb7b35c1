"""A program that asks for a stream and does not read it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway_process import ALICE, gateway_process

ROUNDS = 8
PIECE = "\N{GRINNING FACE}" * 16_000


@asynccontextmanager
async def _talkative_model() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A mebibyte in each of its rounds; and when it has said all."""
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))["messages"]
        rounds = sum(message["role"] == "tool" for message in asked)
        arguments = json.dumps({"expression": f"1+{rounds}"})
        call = {"index": 0, "id": f"call{rounds}", "function": {"name": "calculator", "arguments": arguments}}
        last: dict[str, Any] = {"tool_calls": [call]} if rounds < ROUNDS else {}
        deltas = [{"content": PIECE}] * 16 + [last]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls" if delta is last else None}
            writer.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        writer.close()
        if rounds == ROUNDS:
            silent.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", silent


@pytest.mark.attack(29)
async def test_who_does_not_read_his_stream_is_told_so_in_it(tmp_path: Path) -> None:
    async with _talkative_model() as (url, silent):
        models = [{"name": "main", "base_url": url, "api_key": "k", "model": "talkative"}]
        async with gateway_process(tmp_path / "home", {"models": models}) as gateway:
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])))
            reader, writer = await asyncio.open_connection(sock=line, limit=4096)
            body = json.dumps({"messages": [{"role": "user", "content": "please talk"}], "stream": True}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ALICE}\r\n"
            writer.write(head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            async with asyncio.timeout(20):
                await silent.wait()  # all that while nothing is read
                await asyncio.sleep(0.3)
                answer = await reader.read()
            writer.close()
            assert answer.count(b"HTTP/1.1 ") == 1 and b"-32603" not in answer
            end = answer.split(b"data: ")[-1]
            assert json.loads(end[: end.index(b"\n\n")])["error"]["code"] == 1007
            assert await gateway.stop() == 0
            assert not [text for text in gateway.output if "Traceback" in text]
