"""A bridge's socket byte by byte: what aiohttp has read before it let go, fragments, text that is none."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.fakes.tunnel_rig import GatewayRig, until


class RawSocket:
    """A client that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame of the server's."""
        first, second = await self.reader.readexactly(2)
        size = second & 127
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 15, await self.reader.readexactly(size)

    async def text(self) -> dict[str, object]:
        while True:
            opcode, data = await self.frame()
            if opcode == 1:
                return json.loads(data)

    async def close_code(self) -> int:
        while True:
            opcode, data = await self.frame()
            if opcode == 8:
                return int(struct.unpack("!H", data[:2])[0])


def masked(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    mask = os.urandom(4)
    size = len(data)
    head = bytes([(128 if fin else 0) | opcode])
    if size < 126:
        head += bytes([128 | size])
    elif size < 65536:
        head += struct.pack("!BH", 128 | 126, size)
    else:
        head += struct.pack("!BQ", 128 | 127, size)
    return head + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))


def request(path: str = "/tunnel") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


@asynccontextmanager
async def dialled(folder: Path, first: bytes = b"") -> AsyncIterator[tuple[GatewayRig, RawSocket]]:
    """A socket after its upgrade; `first` comes in the same packet as the request."""
    gateway = GatewayRig(folder / "home")
    await gateway.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        token = gateway.token()
        writer.write(request() + (masked(1, auth(token)) if first == b"AUTH" else first))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        socket = RawSocket(reader, writer)
        socket.token = token
        yield gateway, socket
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await gateway.stop()


def auth(token: str) -> bytes:
    return json.dumps({"type": "AUTH", "token": token, "payload": {"bridge_id": "b1", "name": "b1"}}).encode()


async def test_a_client_that_does_not_wait_for_the_upgrade(tmp_path: Path) -> None:
    async with dialled(tmp_path, b"AUTH") as (_gateway, socket):
        welcome = await socket.text()
        assert welcome["type"] == "AUTH" and welcome["payload"]["ok"] is True


async def test_a_message_in_pieces_with_a_ping_between(tmp_path: Path) -> None:
    async with dialled(tmp_path) as (gateway, socket):
        whole = auth(socket.token)
        socket.writer.write(masked(1, whole[:10], fin=False) + masked(9, b"are you there"))
        socket.writer.write(masked(0, whole[10:40], fin=False) + masked(0, whole[40:]))
        came = dict([await socket.frame() for _ in range(3)])
        assert came[10] == b"are you there"
        assert json.loads(came[1])["type"] == "AUTH"
        echo = came[9]  # ours, to measure the way
        socket.writer.write(masked(10, echo))
        bridge = gateway.directory.bridges_of("alice")[0]
        await until(lambda: bridge.session.latency_ms is not None)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(1, b"\xff\xfe"), 1007),
        (masked(2, b"bytes"), 1003),
        (masked(1, b"x" * 70_000), 1009),
        (masked(1, b"", fin=False) + masked(0, b"", fin=False) * 2000, 1009),
        (masked(3, b"?"), 1002),
        (b"\x81\x01x", 1002),  # not masked (RFC 6455, 5.1)
        (masked(1, b"no JSON"), 4501),
    ],
    ids=["not UTF-8", "binary", "too long", "too many pieces", "no such opcode", "not masked", "no JSON"],
)
async def test_what_is_no_auth_closes(tmp_path: Path, sent: bytes, code: int) -> None:
    async with dialled(tmp_path) as (_gateway, socket):
        socket.writer.write(sent)
        assert await asyncio.wait_for(socket.close_code(), 5) == code
        socket.writer.close()


async def test_a_polite_goodbye_is_answered(tmp_path: Path) -> None:
    async with dialled(tmp_path, b"AUTH") as (gateway, socket):
        await socket.text()
        assert gateway.directory.bridges_of("alice")[0].connected
        socket.writer.write(masked(8, struct.pack("!H", 1000)))
        assert await socket.close_code() == 1000
        await until(lambda: not gateway.directory.bridges_of("alice")[0].connected)


async def test_a_line_that_is_cut(tmp_path: Path) -> None:
    async with dialled(tmp_path, b"AUTH") as (gateway, socket):
        await socket.text()
        socket.writer.transport.abort()
        await until(lambda: not gateway.directory.bridges_of("alice")[0].connected)
