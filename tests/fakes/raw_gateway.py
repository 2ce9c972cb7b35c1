"""A gateway that does what a test says, frame by frame, and shares no code with ours but the test's own signature."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.fakes.raw_bridge import expected_signature

KEY = urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()


class Link:
    """One connection of a bridge."""

    def __init__(self, socket: ServerConnection, epoch: int) -> None:
        self.socket = socket
        self.epoch = epoch
        self.bridge_id = ""
        self.frames: list[dict[str, Any]] = []
        self._changed = asyncio.Event()

    async def read(self) -> None:
        try:
            async for text in self.socket:
                self.frames.append(json.loads(text))
                self._changed.set()
        except ConnectionClosed:
            pass
        self._changed.set()

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def welcome(self, **payload: Any) -> dict[str, Any]:
        """Wait for AUTH and accept it."""
        auth = await self.frame("AUTH")
        self.bridge_id = auth["payload"]["bridge_id"]
        whole = {
            "ok": True, "bridge_id": self.bridge_id, "session_id": "s", "epoch": self.epoch, "heartbeat_ms": 15000,
            "sign_key": KEY, "forget": [], "cancel": [],
            "limits": {"max_frame_bytes": 4194304, "max_in_flight": 64, "window_bytes": 1048576,
                       "max_result_bytes": 33554432}, **payload,
        }  # fmt: skip
        await self.send(type="AUTH", id=auth["id"], payload=whole)
        return auth

    async def request(
        self, call_id: str, name: str, arguments: dict[str, Any] | None = None, *, attempt: int = 1, key: str = "",
        method: str = "tools/call", deadline_ms: int = 5000, params: dict[str, Any] | None = None, user: str = "alice",
        **control: Any,
    ) -> None:  # fmt: skip
        frame: dict[str, Any] = {
            "type": "MCP_REQUEST", "id": call_id,
            "payload": {"jsonrpc": "2.0", "id": call_id, "method": method,
                        "params": params or {"name": name, "arguments": arguments or {}}},
            "ctl": {"deadline_ms": deadline_ms, "idempotency_key": key or f"key-{call_id}", "attempt": attempt,
                    "epoch": self.epoch, "actor": {"user": user, "channel": "cli", "session_key": "s1"}, **control},
        }  # fmt: skip
        frame["sig"] = expected_signature(KEY, self.bridge_id, frame)
        await self.send(**frame)

    async def frame(self, *kinds: str, call_id: str | None = None, seconds: float = 5.0) -> dict[str, Any]:
        """Take the first frame of these types (of this call)."""
        async with asyncio.timeout(seconds):
            while True:
                for index, frame in enumerate(self.frames):
                    if frame["type"] in kinds and call_id in (None, frame.get("id")):
                        return self.frames.pop(index)
                self._changed.clear()
                await self._changed.wait()

    async def answer(self, call_id: str, *, ack: bool = True, seconds: float = 5.0) -> dict[str, Any]:
        """How the call ended; acknowledged unless told otherwise."""
        frame = await self.frame("MCP_RESPONSE", "ERROR", call_id=call_id, seconds=seconds)
        if ack:
            await self.send(type="ACK", payload={"of": call_id})
        return frame


class RawGateway:
    """`links` are the connections in order; `refuse` may answer a handshake with a status and headers."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.epoch = 100
        self.same_epoch = False
        self.refuse: Callable[[int], tuple[int, dict[str, str]] | None] = lambda attempt: None
        self.attempts: list[float] = []
        self.port = 0
        self._server: Server | None = None
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/tunnel"

    async def start(self) -> None:
        self._server = await serve(
            self._accept, "127.0.0.1", self.port, process_request=self._handshake, compression=None, max_size=None,
            ping_interval=None,
        )  # fmt: skip
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts.append(asyncio.get_running_loop().time())
        refused = self.refuse(len(self.attempts))
        if refused is None:
            return None
        response = connection.respond(HTTPStatus(refused[0]), "")
        for name, value in refused[1].items():
            response.headers[name] = value
        return response

    async def _accept(self, socket: ServerConnection) -> None:
        self.epoch += 0 if self.same_epoch else 1
        link = Link(socket, self.epoch)
        self.links.append(link)
        self._changed.set()
        await link.read()

    async def link(self, number: int = -1, *, seconds: float = 5.0) -> Link:
        """The connection of this number (from 0), or the next one to come."""
        wanted = len(self.links) if number < 0 else number
        async with asyncio.timeout(seconds):
            while len(self.links) <= wanted:
                self._changed.clear()
                await self._changed.wait()
        return self.links[wanted]
