"""A TCP proxy between bridge and gateway that knows where WebSocket messages end, and fails there.

It drops, stalls, half-opens, duplicates messages, and cuts the connection before or after any message it likes.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

TO_GATEWAY, TO_BRIDGE = "to_gateway", "to_bridge"


class Action(Enum):
    """What happens to one message."""

    PASS = "pass"
    TWICE = "twice"
    CUT_BEFORE = "cut_before"
    """It never arrives, and the connection breaks."""
    CUT_AFTER = "cut_after"
    """It arrives, and the connection breaks."""
    STALL = "stall"
    """From here on nothing passes in either direction, and nobody is told."""


Decide = Callable[[str, int], Action]
"""`(direction, number of the message in the life of the proxy)`."""


def _pass(direction: str, number: int) -> Action:
    return Action.PASS


class _Splitter:
    """Bytes in, whole HTTP heads and WebSocket messages out (RFC 6455, section 5.2)."""

    def __init__(self) -> None:
        self._buffer = b""
        self._upgraded = False

    def feed(self, data: bytes) -> list[bytes]:
        self._buffer += data
        out = []
        while (size := self._next()) is not None and len(self._buffer) >= size:
            out.append(self._buffer[:size])
            self._buffer = self._buffer[size:]
        return out

    def _next(self) -> int | None:
        buffer = self._buffer
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._upgraded = True
            return end + 4
        if len(buffer) < 2:
            return None
        length, head = buffer[1] & 0x7F, 2
        if length == 126:
            if len(buffer) < 4:
                return None
            length, head = struct.unpack_from("!H", buffer, 2)[0], 4
        elif length == 127:
            if len(buffer) < 10:
                return None
            length, head = struct.unpack_from("!Q", buffer, 2)[0], 10
        return head + (4 if buffer[1] & 0x80 else 0) + length


@dataclass
class FaultProxy:
    """Listens on `port`, forwards to `target`. `decide` is asked for every message after the upgrade."""

    target: int
    decide: Decide = _pass
    port: int = 0
    messages: int = 0
    connections: int = 0
    refusing: bool = False
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _stalled: bool = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset every connection."""
        self._stalled = False
        for writer in list(self._writers):
            with contextlib.suppress(OSError):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def stall(self) -> None:
        """Nothing passes any more, and nobody is told: a cable pulled out."""
        self._stalled = True

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, upstream_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, upstream_writer, TO_GATEWAY))
                group.create_task(self._pump(upstream_reader, writer, TO_BRIDGE))
        except* (OSError, _Cut):
            pass
        finally:
            for one in pair:
                one.transport.abort()
            self._writers -= pair

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        splitter, first = _Splitter(), True
        while data := await reader.read(65536):
            for message in splitter.feed(data):
                if first:
                    first = False
                    writer.write(message)
                    continue
                await self._message(message, writer, direction)
            await writer.drain()
        raise _Cut

    async def _message(self, message: bytes, writer: asyncio.StreamWriter, direction: str) -> None:
        while self._stalled:
            await asyncio.sleep(0.01)
        self.messages += 1
        match self.decide(direction, self.messages):
            case Action.CUT_BEFORE:
                self.cut()
                raise _Cut
            case Action.CUT_AFTER:
                writer.write(message)
                await writer.drain()
                await asyncio.sleep(0.005)
                self.cut()
                raise _Cut
            case Action.TWICE:
                writer.write(message + message)
            case Action.STALL:
                writer.write(message)
                self._stalled = True
            case _:
                writer.write(message)


class _Cut(Exception):
    pass
