"""A gateway as far as a terminal sees it, which drops its clients where the test says.

It speaks the public protocol over a real WebSocket: one session, numbered events kept for
replay, idempotency keys. `script` decides what an answer is made of.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

Script = Callable[["DroppingGateway", str, str], Any]


class DroppingGateway:
    """`drop()` cuts all connections without a word; `forgetful` refuses every replay with 1010; `error` is the
    answer to the next message."""

    def __init__(self) -> None:
        self.script: Script = answer
        self.events: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.forgetful = False
        self.limits: dict[str, int] = {}
        self.error: dict[str, Any] | None = None
        self.refuse: int | None = None
        self.drop_before_reply = 0
        self.resolved = asyncio.Event()
        self.aborted = asyncio.Event()
        self._clients: set[ServerConnection] = set()
        self._turns: set[asyncio.Task[Any]] = set()
        self._server: Server | None = None
        self.url = ""

    async def __aenter__(self) -> "DroppingGateway":
        self._server = await serve(self._client, "127.0.0.1", 0, compression=None)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/ws"
        return self

    async def __aexit__(self, *_: object) -> None:
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def emit(self, kind: str, message_id: str, *, quiet: bool = False, **fields: Any) -> None:
        """Number an event, keep it, and send it to whoever is there (nobody where `quiet`)."""
        event = {"type": kind, "session_key": "S", "message_id": message_id, "seq": len(self.events) + 1, **fields}
        self.events.append(event)
        if not quiet:
            for client in self._clients:
                self._later(client.send(_event(event)))

    async def drop(self) -> None:
        """Cut all connections as a broken network does."""
        await asyncio.sleep(0.05)
        for client in list(self._clients):
            client.transport.abort()
        self._clients.clear()

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._turns.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _client(self, socket: ServerConnection) -> None:
        if self.refuse is not None:
            await socket.close(self.refuse, "not you")
            return
        try:
            async for frame in socket:
                request = json.loads(frame)
                self.calls.append((request["method"], request["params"]))
                await self._answer(socket, request)
        finally:
            self._clients.discard(socket)

    async def _answer(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        method, params = request["method"], request["params"]

        async def reply(result: Any) -> None:
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))

        if method == "connect":
            server = {"name": "fake", "version": "0"}
            await reply({"protocol": 1, "user": "ann", "role": "user", "server": server, "limits": self.limits})
        elif method == "session.subscribe":
            after = params.get("after_seq")
            if after is not None and self.forgetful:
                error = {"code": 1010, "message": "gone", "data": {"retryable": False}}
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}))
                return
            missed = [] if after is None else self.events[after:]
            await reply({"last_seq": len(self.events), "replayed": len(missed)})
            self._clients.add(socket)
            for event in missed:
                await socket.send(_event(event))
        elif method == "chat.send_stream":
            await self._send(socket, params, reply, request["id"])
        elif method == "chat.history":
            await reply({"messages": self.history, "has_more": False})
        elif method in ("approval.resolve", "question.answer"):
            self.resolved.set()
            await reply({"resolved": True})
        elif method == "chat.abort":
            self.aborted.set()
            await reply({"aborted": True})

    async def _send(self, socket: ServerConnection, params: dict[str, Any], reply: Any, request_id: int) -> None:
        key = params["idempotency_key"]
        if self.error is not None:
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": self.error}))
            self.error = None
            return
        fresh = key not in self.keys
        if fresh:
            message_id = f"m{len(self.keys) + 1}"
            self.emit("chat.message", message_id, quiet=True, role="user", text=params["text"])
            self.keys[key] = {"message_id": message_id, "session_key": "S", "seq": len(self.events)}
        if self.drop_before_reply:
            self.drop_before_reply -= 1
            socket.transport.abort()
            return
        await reply(self.keys[key])
        self._clients.add(socket)
        if not fresh:  # what was said again is told its end, should that have come
            for event in self.events:
                if event["message_id"] == self.keys[key]["message_id"] and event["type"] in ("chat.done", "chat.error"):
                    await socket.send(_event(event))
        if fresh or len(self.events) == self.keys[key]["seq"]:
            self._later(self.script(self, self.keys[key]["message_id"], params["text"]))


def _event(event: dict[str, Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": "event", "params": event})


async def answer(gateway: DroppingGateway, message_id: str, text: str) -> None:
    """The plain script: three deltas and done."""
    gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
    for piece in ("You ", "said ", text):
        gateway.emit("chat.delta", message_id, delta=piece)
    gateway.emit("chat.done", message_id, text=f"You said {text}", finish_reason="stop", usage={})
