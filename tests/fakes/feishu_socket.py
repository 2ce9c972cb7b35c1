"""The long connection of the fake Feishu, and the webhook that may take its place.

An event is sent again until it is acknowledged with 200, as Feishu does (after
15 s, 5 min, 1 h, 6 h there; after `retry_seconds` here). Frames are those of
`channels.feishu.frames`, which the tests hold against the SDK's own class.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, WSMsgType, web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from channels.feishu.frames import CONTROL, DATA, Frame, decode, encode
from tests.fakes.feishu_world import Object, new

Answer = Callable[[int, Object | None], Awaitable[None]]


@dataclass
class Push:
    """An event on its way: pushed `sent` times, acknowledged with `code`, answered with `data`."""

    payload: Object
    sent: int = 0
    code: int | None = None
    data: Object | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class LongConnection:
    """`split`: events are cut into frames of this many bytes. `deaf`: no pongs, no pushes."""

    app_id: str
    app_secret: str
    ping_seconds: int = 120
    retry_seconds: float = 0.3
    split: int = 0
    deaf: bool = False
    full: bool = False
    """True: the endpoint says that there are too many connections."""
    pushes: dict[str, Push] = field(default_factory=dict)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    pings: int = 0
    connections: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _parts: dict[str, str] = field(default_factory=dict)

    async def endpoint(self, request: web.Request) -> web.Response:
        """Where the socket is, for those who know the secret."""
        body = await request.json()
        if (body.get("AppID"), body.get("AppSecret")) != (self.app_id, self.app_secret):
            return web.json_response({"code": 10014, "msg": "app secret invalid"})
        if self.full:
            return web.json_response({"code": 1000040350, "msg": "the number of connections exceeded the limit"})
        url = f"ws://{request.host}/ws?device_id={new('d')}&service_id=7&ticket=t"
        config = {"ReconnectCount": -1, "ReconnectInterval": 1, "ReconnectNonce": 0, "PingInterval": self.ping_seconds}
        return web.json_response({"code": 0, "msg": "", "data": {"URL": url, "ClientConfig": config}})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One long connection."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.sockets.append(socket)
        self.connections += 1
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY and not self.deaf:
                    await self._receive(socket, decode(message.data))
        finally:
            self.sockets.remove(socket)
        return socket

    async def _receive(self, socket: web.WebSocketResponse, frame: Frame) -> None:
        if frame.method == CONTROL and frame.headers.get("type") == "ping":
            self.pings += 1
            payload = json.dumps({"PingInterval": self.ping_seconds, "ReconnectCount": -1, "ReconnectInterval": 1,
                                  "ReconnectNonce": 0}).encode()  # fmt: skip
            await socket.send_bytes(encode(Frame(service=7, headers={"type": "pong"}, payload=payload)))
        elif frame.method == DATA:
            answer = json.loads(frame.payload)
            data = json.loads(base64.b64decode(answer["data"])) if answer.get("data") else None
            self._acknowledge(self._parts.get(frame.headers["message_id"], ""), answer["code"], data)

    def _acknowledge(self, event_id: str, code: int, data: Object | None) -> None:
        push = self.pushes.get(event_id)
        if push is not None:
            push.code, push.data = code, data
            if code == 200:
                push.done.set()

    async def push(self, payload: Object, *, times: int = 1) -> Push:
        """Send an event now, if somebody is connected; unacknowledged, `repeat` sends it again."""
        found = self.pushes.setdefault(payload["header"]["event_id"], Push(payload))
        for _ in range(times):
            await self._send(found)
        return found

    async def _send(self, push: Push) -> None:
        live = [s for s in self.sockets if not s.closed]
        if not live or self.deaf:
            return
        push.sent += 1
        data = json.dumps(push.payload, ensure_ascii=False).encode()
        size = self.split or len(data)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        message_id = new("m")
        self._parts[message_id] = push.payload["header"]["event_id"]
        for seq, piece in enumerate(pieces):
            headers = {"type": "event", "message_id": message_id, "sum": str(len(pieces)), "seq": str(seq),
                       "trace_id": new("trace")}  # fmt: skip
            frame = Frame(seq_id=next(self._numbers), service=7, method=DATA, headers=headers, payload=piece)
            try:
                await live[0].send_bytes(encode(frame))
            except ConnectionError:
                return

    async def repeat(self) -> None:
        """Send what is unacknowledged again and again, until cancelled."""
        while True:
            await asyncio.sleep(self.retry_seconds)
            for push in list(self.pushes.values()):
                if not push.done.is_set() and push.code != 200:
                    await self._send(push)

    async def drop(self, *, politely: bool = True) -> None:
        """End every connection."""
        for socket in list(self.sockets):
            if politely:
                await socket.close(code=1001)
            elif socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()

    async def until_connected(self, seconds: float = 10.0) -> None:
        """Wait for a connection."""
        async with asyncio.timeout(seconds):
            while not self.sockets:
                await asyncio.sleep(0.01)


@dataclass
class Webhook:
    """Signs, encrypts and posts events to the address that the developer has set."""

    encrypt_key: str
    verification_token: str
    url: str = ""

    async def post(self, payload: Object, **how: Any) -> tuple[int, Object]:
        """POST an event; the status and body of the answer."""
        body, headers = self.sign(payload, **how)
        return await self.send(body, headers)

    async def send(self, body: bytes, headers: dict[str, str]) -> tuple[int, Object]:
        """POST these bytes."""
        try:
            async with ClientSession() as session, session.post(self.url, data=body, headers=headers) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if text.startswith("{") else {"text": text}
        except ClientError as error:
            return 0, {"error": str(error)}

    def sign(
        self, payload: Object, *, age: float = 0.0, signature: str | None = None, encrypted: bool = True
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers; `age` seconds old, or with a `signature` of the test's own."""
        plain = json.dumps(payload, ensure_ascii=False).encode()
        body = json.dumps({"encrypt": encrypt(plain, self.encrypt_key)}).encode() if encrypted else plain
        stamp, nonce = str(int(time.time() - age)), new("n")
        right = hashlib.sha256((stamp + nonce + self.encrypt_key).encode() + body).hexdigest()
        return body, {
            "Content-Type": "application/json; charset=utf-8",
            "X-Lark-Request-Timestamp": stamp,
            "X-Lark-Request-Nonce": nonce,
            "X-Lark-Signature": right if signature is None else signature,
        }


def encrypt(plain: bytes, key: str) -> str:
    """AES-256-CBC under sha256(key), PKCS7, the IV in front, base64."""
    iv = os.urandom(16)
    pad = 16 - len(plain) % 16
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(iv)).encryptor()
    return base64.b64encode(iv + cipher.update(plain + bytes([pad]) * pad) + cipher.finalize()).decode()
