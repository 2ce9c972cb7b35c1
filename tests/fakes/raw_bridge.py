"""A bridge that does what a test says, frame by frame, and shares no code with ours."""

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


class RawBridge:
    """`async with RawBridge(url) as bridge: await bridge.auth(token)`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.welcome: dict[str, Any] = {}
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> "RawBridge":
        self._socket = await connect(self.url, proxy=None, compression=None, max_size=None, ping_interval=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def auth(self, token: str, **payload: Any) -> dict[str, Any]:
        whole = {
            "protocol": {"min": 1, "max": 1}, "bridge_id": "raw", "boot_id": "boot-1", "name": "raw",
            "client": {"name": "test", "version": "1", "os": "linux"}, "in_flight": [], **payload,
        }  # fmt: skip
        await self.send(type="AUTH", id="a1", token=token, payload=whole)
        self.welcome = await self.frame("AUTH")
        return self.welcome["payload"]

    async def tools(self, *names: str, policy: str = "allow", server: str = "fs") -> None:
        await self.send(
            type="TOOLS",
            payload={
                "revision": "1",
                "servers": [{"name": server, "state": "ready"}],
                "tools": [
                    {"name": name, "server": server, "description": "d", "inputSchema": {"type": "object"},
                     "policy": policy}
                    for name in names
                ],
            },
        )  # fmt: skip

    async def frame(self, kind: str, seconds: float = 5.0) -> dict[str, Any]:
        """The next frame of this type; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                if frame["type"] == kind:
                    return frame

    async def answer(self, request: dict[str, Any], text: str = "ok") -> None:
        await self.send(
            type="MCP_RESPONSE", id=request["id"],
            payload={"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": text}]}},
        )  # fmt: skip

    async def closed(self, seconds: float = 5.0) -> int:
        """The close code, once the gateway has closed."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code or 0


def expected_signature(sign_key: str, bridge_id: str, request: dict[str, Any]) -> str:
    """The contract's signature for texts and small integers, written down once more."""

    def canonical(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    control, payload = request["ctl"], request["payload"]
    members = {
        "id": request["id"], "bridge_id": bridge_id, "epoch": control["epoch"], "attempt": control["attempt"],
        "actor": control["actor"], "method": payload["method"], "name": payload["params"]["name"],
        "arguments_sha256": hashlib.sha256(canonical(payload["params"].get("arguments", {}))).hexdigest(),
        "deadline_ms": control["deadline_ms"], "idempotency_key": control["idempotency_key"],
    }  # fmt: skip
    for name in ("confirm", "answer"):
        if name in control:
            members[name] = control[name]
    key = urlsafe_b64decode(sign_key + "=" * (-len(sign_key) % 4))
    assert len(key) == 32
    return hmac.new(key, canonical(members), hashlib.sha256).hexdigest()
