"""Peers of the tunnel written from the public contract alone: nothing of the product's code is used here."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import websockets

SIGNED = (
    "id", "bridge_id", "epoch", "attempt", "actor", "method", "name", "arguments_sha256", "deadline_ms",
    "idempotency_key", "confirm", "answer",
)  # fmt: skip


def canonical(value: Any) -> str:
    """RFC 8785 for what these tests send: keys by UTF-16 units, shortest numbers, no spaces."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
    return "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + canonical(value[k]) for k in keys) + "}"


def signature(sign_key: str, bridge_id: str, frame: dict[str, Any]) -> str:
    """What `sig` of an MCP_REQUEST has to be."""
    ctl, request = frame["ctl"], frame["payload"]
    params = request.get("params", {})
    arguments = canonical(params.get("arguments") or {}).encode()
    members = {
        **{key: ctl[key] for key in SIGNED if key in ctl},
        "id": frame["id"], "bridge_id": bridge_id, "method": request["method"],
        "arguments_sha256": hashlib.sha256(arguments).hexdigest(),
    }  # fmt: skip
    name = params.get("name", params.get("uri"))
    if name is not None:
        members["name"] = name
    secret = base64.urlsafe_b64decode(sign_key + "=" * (-len(sign_key) % 4))
    assert len(secret) == 32 and "=" not in sign_key
    return hmac.new(secret, canonical(members).encode(), hashlib.sha256).hexdigest()


class Peer:
    """One end of a tunnel: frames that came, frames to send."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                assert isinstance(text, str)
                frame = json.loads(text)
                if frame["type"] == "PING" and not frame["payload"].get("pong"):
                    await self.send("PING", frame.get("id"), {"t": frame["payload"].get("t"), "pong": True})
                self.frames.append(frame)
                self._changed.set()
        self.close_code = self.socket.close_code
        self._changed.set()

    async def send(self, kind: str, call_id: str | None, payload: dict[str, Any], **more: Any) -> None:
        frame = {"type": kind, "payload": payload, **({"id": call_id} if call_id is not None else {}), **more}
        await self.socket.send(json.dumps(frame))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    async def until(self, found: Callable[[], Any], seconds: float = 10) -> Any:
        try:
            async with asyncio.timeout(seconds):
                while not (value := found()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not in {seconds} s; closed {self.close_code}; frames {self.frames}") from None
        return value

    async def nth(self, kind: str, n: int = 1, seconds: float = 10) -> dict[str, Any]:
        """The n-th frame of this kind, from 1."""
        found = await self.until(lambda: self.of(kind)[n - 1 : n], seconds)
        return dict(found[0])

    async def closed(self, seconds: float = 5) -> int:
        code = await self.until(lambda: self.close_code, seconds)
        return int(code)

    async def shut(self) -> None:
        await self.socket.close()
        await asyncio.wait([self._reader])


class RawBridge(Peer):
    """A bridge: dials, says AUTH, knows how to check a signature."""

    auth: dict[str, Any]

    @property
    def bridge_id(self) -> str:
        return str(self.auth["bridge_id"])

    async def offer(self, *tools: dict[str, Any], revision: int = 1) -> None:
        servers = [{"name": name, "state": "ready"} for name in dict.fromkeys(tool["server"] for tool in tools)]
        await self.send("TOOLS", None, {"revision": revision, "servers": servers, "tools": list(tools)})

    async def answer(self, request: dict[str, Any], text: str) -> None:
        result = {"content": [{"type": "text", "text": text}]}
        payload = {"jsonrpc": "2.0", "id": request["payload"].get("id"), "result": result}
        await self.send("MCP_RESPONSE", request["id"], payload)

    def checked(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request, whose signature holds."""
        assert request["sig"] == signature(self.auth["sign_key"], self.bridge_id, request), request
        return request


def tool(name: str, server: str = "raw", policy: str = "allow", **more: Any) -> dict[str, Any]:
    return {
        "name": name, "server": server, "description": f"the tool {name}", "inputSchema": {"type": "object"},
        "policy": policy, **more,
    }  # fmt: skip


async def dial(tunnel: str, **options: Any) -> Any:
    return await websockets.connect(tunnel, proxy=None, max_size=None, ping_interval=None, **options)


def auth_payload(bridge_id: str, boot_id: str = "boot-1", in_flight: Any = ()) -> dict[str, Any]:
    return {
        "protocol": {"min": 1, "max": 1}, "bridge_id": bridge_id, "boot_id": boot_id, "name": "desk",
        "client": {"name": "raw", "version": "0", "os": "linux"}, "in_flight": list(in_flight),
    }  # fmt: skip


@contextlib.asynccontextmanager
async def raw_bridge(
    tunnel: str, token: str, bridge_id: str | None = "desk-1", boot_id: str = "boot-1", in_flight: Any = ()
) -> AsyncIterator[RawBridge]:
    """A bridge that is connected; `bridge_id` None says the bare AUTH."""
    bridge = RawBridge(await dial(tunnel))
    frame: dict[str, Any] = {"type": "AUTH", "token": token}
    if bridge_id is not None:
        frame |= {"id": "a1", "payload": auth_payload(bridge_id, boot_id, in_flight)}
    await bridge.socket.send(json.dumps(frame))
    try:
        bridge.auth = (await bridge.nth("AUTH"))["payload"]
        yield bridge
    finally:
        await bridge.shut()


class RawGateway:
    """A gateway that a bridge dials: takes AUTH, answers it, signs what it sends."""

    def __init__(self, port: int = 0, **auth: Any) -> None:
        self.port = port
        self.links: list[Link] = []
        self.auth = auth
        self.refuse: tuple[int, int] | None = None
        self._came = asyncio.Event()
        self._server: Any = None

    async def __aenter__(self) -> "RawGateway":
        self._server = await websockets.serve(self._serve, "127.0.0.1", self.port, max_size=None, ping_interval=None)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/tunnel"

    async def _serve(self, socket: Any) -> None:
        link = Link(socket)
        link.hello = await link.nth("AUTH")
        if self.refuse is not None:
            code, close = self.refuse
            error = {"code": code, "message": "no", "scope": "connection", "retryable": False, "effect": "none"}
            await link.send("ERROR", None, error)
            await socket.close(close, "no")
            return
        link.epoch = 1000 + len(self.links)
        link.sign_key = base64.urlsafe_b64encode(bytes([len(self.links)]) * 32).decode().rstrip("=")
        link.bridge_id = link.hello["payload"].get("bridge_id", "named-by-token")
        limits = {"max_frame_bytes": 1 << 20, "max_in_flight": 64, "window_bytes": 1 << 20, "max_result_bytes": 1 << 25}
        payload = {
            "ok": True, "bridge_id": link.bridge_id, "session_id": "s", "epoch": link.epoch, "heartbeat_ms": 15000,
            "sign_key": link.sign_key, "limits": limits, "forget": [], "cancel": [], **self.auth,
        }  # fmt: skip
        await link.send("AUTH", link.hello.get("id"), payload)
        self.links.append(link)
        self._came.set()
        await link.until(lambda: link.close_code, 600)

    async def link(self, n: int = 1, seconds: float = 15) -> "Link":
        """The n-th connection, from 1."""
        async with asyncio.timeout(seconds):
            while len(self.links) < n:
                self._came.clear()
                await self._came.wait()
        return self.links[n - 1]


class Link(Peer):
    """One connection of a bridge at the raw gateway."""

    hello: dict[str, Any]
    epoch = 0
    sign_key = ""
    bridge_id = ""

    def request(
        self, call_id: str, name: str, arguments: Any = None, *, attempt: int = 1, key: str | None = None,
        method: str = "tools/call", **ctl: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """A signed MCP_REQUEST."""
        server = ctl.pop("server", None)
        if method == "resources/read":
            params: dict[str, Any] = {"uri": name}
        else:
            params = {"name": name} | ({} if arguments is None else {"arguments": arguments})
        frame = {
            "type": "MCP_REQUEST", "id": call_id,
            "payload": {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params},
            "ctl": {
                "deadline_ms": 20000, "idempotency_key": key or f"key-{call_id}", "attempt": attempt,
                "epoch": self.epoch, "actor": {"user": "alice", "channel": "websocket"}, **ctl,
            },
        }  # fmt: skip
        if server is not None:
            frame["ctl"]["server"] = server
        frame["sig"] = signature(self.sign_key, self.bridge_id, frame)
        return frame

    async def ask(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Send a signed request; the frame."""
        frame = self.request(*arguments, **more)
        await self.socket.send(json.dumps(frame))
        return frame

    async def ended(self, call_id: str, n: int = 1, seconds: float = 15) -> dict[str, Any]:
        """The n-th MCP_RESPONSE or ERROR of a call."""
        found = await self.until(
            lambda: [f for f in self.frames if f["type"] in ("MCP_RESPONSE", "ERROR") and f.get("id") == call_id][
                n - 1 : n
            ],
            seconds,
        )
        return dict(found[0])

    async def catalogue(self, state: str = "ready") -> dict[str, Any]:
        """The first TOOLS whose servers all are in `state`."""

        def ready() -> list[dict[str, Any]]:
            told = [frame["payload"] for frame in self.of("TOOLS")]
            return [one for one in told if one["servers"] and all(s["state"] == state for s in one["servers"])]

        return dict((await self.until(ready, 20))[-1])

    async def progress(self, call_id: str, state: str, seconds: float = 10) -> dict[str, Any]:
        found = await self.until(
            lambda: [f for f in self.of("PROGRESS") if f.get("id") == call_id and f["payload"]["state"] == state],
            seconds,
        )
        return dict(found[-1]["payload"])
