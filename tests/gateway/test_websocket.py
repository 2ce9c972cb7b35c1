"""The gateway's WebSocket on a real line: what a piece of input leads to, and when it leaves."""

import asyncio
import socket
import threading
import time

from websockets.frames import Frame, Opcode

from bridge.servers import turn
from gateway.packets import text_frame
from gateway.websocket import WebSocket

PIECE = turn.BURST * 3


class Slow:
    """Answers each message, and takes a while for it in which the loop stands still."""

    def __init__(self) -> None:
        self.ws = WebSocket(self, 1 << 20)
        self.last = 0.0

    def text(self, text: str) -> None:
        self.ws.send(text_frame(text.encode()))
        time.sleep(0.005)
        self.last = time.monotonic()

    def binary(self) -> None:
        raise AssertionError

    def pong(self, echo: bytes) -> None:
        raise AssertionError

    def gone(self) -> None:
        pass


async def test_who_reads_begins_before_the_whole_piece_is_worked_off() -> None:
    owner = Slow()
    server = await asyncio.get_running_loop().create_server(lambda: owner.ws, "127.0.0.1", 0)
    first: list[float] = []
    everything = b""

    def client() -> None:
        nonlocal everything
        with socket.create_connection(server.sockets[0].getsockname()) as line:
            frames = [Frame(Opcode.TEXT, b"%d" % number).serialize(mask=True) for number in range(PIECE)]
            line.sendall(b"".join(frames))
            while len(everything) < sum(len(text_frame(b"%d" % number)) for number in range(PIECE)):
                everything += line.recv(65_536)
                first.append(time.monotonic())

    thread = threading.Thread(target=client)
    thread.start()
    await asyncio.to_thread(thread.join, 10)
    assert everything == b"".join(text_frame(b"%d" % number) for number in range(PIECE))
    assert first[0] < owner.last - 0.005 * turn.BURST
    owner.ws.abort()
    server.close()
    await server.wait_closed()
