"""What a single connection may cost: pieces without end, bombs, bodies that trickle; and what many at once see."""

import asyncio
import contextlib
import json
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.edge.harness import Running, bearer, head, plain, running, status_of

CONTINUATION, TEXT, CLOSE = 0, 1, 8
FINAL, PACKED = 0x80, 0x40
MASK = b"\x00\x00\x00\x00"
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n{more}\r\n"
)


def packet(opcode: int, data: bytes = b"", flags: int = 0) -> bytes:
    """A frame of a client (RFC 6455, 5.2), masked with nothing but zeros."""
    size = len(data)
    if size < 126:
        return bytes([flags | opcode, 0x80 | size]) + MASK + data
    if size < 65_536:
        return bytes([flags | opcode, 0xFE]) + size.to_bytes(2) + MASK + data
    return bytes([flags | opcode, 0xFF]) + size.to_bytes(8) + MASK + data


class RawSocket:
    """A connection after the upgrade: what is written is sent as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *packets: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # it may have been closed over the first of them
            for each in packets:
                self.writer.write(each)
                await self.writer.drain()

    async def next(self) -> tuple[int, bytes]:
        """Opcode and data of the next frame."""
        async with asyncio.timeout(10):
            first, size = await self.reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        opcode, data = await self.next()
        assert opcode == CLOSE, data
        return int.from_bytes(data[:2])


@contextlib.asynccontextmanager
async def raw_socket(gateway: Running, who: str | None = "alice") -> AsyncIterator[RawSocket]:
    more = "" if who is None else f"Authorization: {bearer(who)['Authorization']}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(HANDSHAKE.format(port=gateway.port, more=more).encode())
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 101
        yield RawSocket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def resident() -> int:
    """Bytes of this process in memory; the gateway is in it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


HEALTH = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "health"}).encode()


@pytest.mark.attack(24)
async def test_a_message_in_pieces_of_a_byte_is_a_message(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, raw_socket(gateway) as raw:
        pieces = [packet(TEXT if at == 0 else CONTINUATION, HEALTH[at : at + 1]) for at in range(len(HEALTH))]
        await raw.send(b"".join(pieces), packet(CONTINUATION, flags=FINAL))
        opcode, data = await raw.next()
        assert opcode == TEXT and json.loads(data)["result"]["status"] == "ok"


@pytest.mark.attack(24)
@pytest.mark.parametrize("who", ["alice", None], ids=["authenticated", "not yet"])
@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "of a byte"])
async def test_pieces_without_end_are_1009_and_cost_no_memory(tmp_path: Path, piece: bytes, who: str | None) -> None:
    async with running(tmp_path) as gateway, gateway.client("bob") as canary, raw_socket(gateway, who) as raw:
        before = resident()
        await raw.send(packet(TEXT, b"{"), *[packet(CONTINUATION, piece) * 1000] * 100)
        assert await raw.close_code() == 1009
        assert resident() - before < 8 << 20
        assert (await canary.call("health"))["status"] == "ok"


@pytest.mark.attack(26)
@pytest.mark.parametrize("who", ["alice", None], ids=["authenticated", "not yet"])
async def test_a_packed_frame_that_nobody_agreed_to_is_not_unpacked(tmp_path: Path, who: str | None) -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with running(tmp_path) as gateway, gateway.client("bob") as canary, raw_socket(gateway, who) as raw:
        before = resident()
        await raw.send(packet(TEXT, bomb[:-4], FINAL | PACKED))  # RFC 7692, 7.2.1: without the last four bytes
        assert await raw.close_code() == 1002
        assert resident() - before < 8 << 20
        assert (await canary.call("health"))["status"] == "ok"


@pytest.mark.attack(26)
@pytest.mark.parametrize("packing", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_a_packed_body_is_refused_and_not_unpacked(tmp_path: Path, packing: str) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    async with running(tmp_path) as gateway:
        before = resident()
        headers = bearer("alice") | {"Content-Encoding": packing}
        for path in ("/api/v1/rpc", "/v1/chat/completions", "/api/v1/login"):
            async with gateway.http.post(gateway.url + path, data=bomb, headers=headers) as response:
                assert response.status == 400, path
        assert resident() - before < 8 << 20


@pytest.mark.attack(27)
@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
async def test_a_body_that_trickles_has_no_longer_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr("gateway.http.exchange.read_body.__defaults__", (0.5,))
    async with running(tmp_path) as gateway:
        length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000"
        begun = f"POST /api/v1/rpc HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\nConnection: close\r\n"
        begun += f"Authorization: {bearer('alice')['Authorization']}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(begun.encode())

        async def trickle() -> None:
            while True:
                writer.write(b"1\r\n \r\n" if chunked else b" ")
                await asyncio.sleep(0.05)

        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            trickling = tasks.create_task(trickle())
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 408
            trickling.cancel()
        writer.close()


@pytest.mark.attack(27)
async def test_a_trailer_without_end_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        begun = "POST /api/v1/rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        begun += f"Authorization: {bearer('alice')['Authorization']}\r\n\r\n2\r\n{{}}\r\n0\r\n"
        before = resident()
        trailer = "X-Trailer: " + "y" * 4000 + "\r\n"
        answer = b""
        with contextlib.suppress(ConnectionError):  # cut off while it was being sent
            answer = await plain(gateway.port, (begun + trailer * 4000).encode())
        assert not answer or status_of(answer) in (200, 400, 431)
        assert resident() - before < 48 << 20  # 16 of them are the test's own
        assert status_of(await head(gateway.port, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) == 200


@pytest.mark.attack(35)
async def test_each_of_fifty_sees_his_own_marker_only(tmp_path: Path) -> None:
    people = [f"user-{number:02}" for number in range(50)]
    tokens = [{"user": name, "role": "user", "token": f"{name}-token-0123456789abcdef0123456789"} for name in people]
    async with running(tmp_path, auth={"tokens": tokens}) as gateway, contextlib.AsyncExitStack() as stack:
        wires = {each["user"]: await stack.enter_async_context(gateway.client(each["token"])) for each in tokens}
        for name, wire in wires.items():
            others = (f"agent:main:websocket:direct:{other}" for other in ("*", "user-00", "user-49") if other != name)
            for key in ("*", "agent:*", "agent:main:websocket:direct:", "agent:main:telegram:group:*", *others):
                assert await wire.code("session.subscribe", session_key=key) in (1003, -32602), key
        said = {n: await w.call("chat.send_stream", text=f"say marker-{n}", session_key="k") for n, w in wires.items()}
        for name, wire in wires.items():
            done = await wire.done(said[name]["message_id"])
            assert f"marker-{name}" in done["text"]
        for name, wire in wires.items():
            seen = json.dumps([wire.events, wire.frames])
            assert [other for other in people if f"marker-{other}" in seen] == [name]


@pytest.mark.attack(89)
@pytest.mark.parametrize(
    "path",
    ["../../settings.py", "..%2f..%2fsettings.py", "%2e%2e/%2e%2e/settings.py", "....//webui.py", "/etc/passwd",
     "%2fetc%2fpasswd", "..\\..\\settings.py", "..%5c..%5csettings.py", "\\\\host\\share", "%00", "", ".", "~"],
)  # fmt: skip
async def test_a_way_out_of_the_page_s_files_is_404(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as gateway:
        raw = f"GET /static/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert status_of(await plain(gateway.port, raw.encode())) == 404
