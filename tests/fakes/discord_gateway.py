"""The gateway socket of the fake Discord: HELLO, IDENTIFY, READY, RESUME, heartbeats, and how it breaks.

Below `discord_server.py`, which owns guilds, channels and messages. A session
lives on when its socket drops: what happens meanwhile is kept and replayed
after RESUME, as Discord does for a few minutes. Knows nothing of REST.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

Object = dict[str, Any]
MESSAGE_CONTENT = 1 << 15
DIRECT_MESSAGES = 1 << 12
GUILD_MESSAGES = 1 << 9


@dataclass
class Session:
    """One IDENTIFY: its numbered events, and the socket that reads them now (or None)."""

    session_id: str
    intents: int
    seq: int = 0
    events: list[Object] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


@dataclass
class Gateway:
    """`ready` and `guilds` are asked for the payloads of READY and GUILD_CREATE."""

    token: str
    ready: Callable[[str], Object]
    guilds: Callable[[], list[Object]]
    content_allowed: bool = True
    """False: the privileged intent is off in the portal, asking for it is 4014."""
    heartbeat_ms: int = 41250
    closed: bool = False
    """True: no socket is opened, the handshake is answered with 503."""
    deaf: bool = False
    """True: nothing is answered, not even heartbeats: a half-open connection."""
    sessions: dict[str, Session] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """What clients did: `identify`, `resume`, `heartbeat`, in order."""
    identified: list[Object] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One socket."""
        if self.closed:
            return web.Response(status=503)
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}, "s": None, "t": None})
        session: Session | None = None
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT or self.deaf:
                    continue
                session = await self._receive(socket, session, json.loads(message.data))
        finally:
            if session is not None and session.socket is socket:
                session.socket = None
        return socket

    async def _receive(self, socket: web.WebSocketResponse, session: Session | None, frame: Object) -> Session | None:
        op, data = frame["op"], frame.get("d")
        if op == 1:
            self.log.append("heartbeat")
            await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
        elif op == 2:
            return await self._identify(socket, data)
        elif op == 6:
            return await self._resume(socket, data)
        return session

    async def _identify(self, socket: web.WebSocketResponse, data: Object) -> Session | None:
        self.log.append("identify")
        self.identified.append(data)
        if data["token"] != self.token:
            await socket.close(code=4004, message=b"Authentication failed.")
            return None
        if data["intents"] & MESSAGE_CONTENT and not self.content_allowed:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        session = Session(f"session-{next(self.numbers)}", data["intents"], socket=socket)
        self.sessions[session.session_id] = session
        await self._emit(session, "READY", self.ready(session.session_id))
        for guild in self.guilds():
            await self._emit(session, "GUILD_CREATE", guild)
        return session

    async def _resume(self, socket: web.WebSocketResponse, data: Object) -> Session | None:
        self.log.append("resume")
        session = self.sessions.get(data["session_id"])
        if session is None or data["token"] != self.token:
            await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
            return None
        session.socket = socket
        for event in session.events:
            if event["s"] > (data["seq"] or 0):
                await socket.send_json(event)
        await self._emit(session, "RESUMED", {"_trace": []})
        return session

    async def _emit(self, session: Session, name: str, data: Object) -> None:
        session.seq += 1
        event = {"op": 0, "t": name, "s": session.seq, "d": dict(data)}
        session.events.append(event)
        if session.socket is not None and not session.socket.closed and not self.deaf:
            try:
                await session.socket.send_json(event)
            except ConnectionError:
                session.socket = None

    async def dispatch(self, name: str, data: Object, *, times: int = 1) -> None:
        """An event to every session whose intents cover it; `times` > 1 repeats it, as happens around reconnects."""
        for session in self.sessions.values():
            seen = self._as_seen(session, name, data)
            if seen is not None:
                for _ in range(times):
                    await self._emit(session, name, seen)

    def _as_seen(self, session: Session, name: str, data: Object) -> Object | None:
        """What the intents leave of an event: without message content a guild's text is blank."""
        if not name.startswith("MESSAGE_"):
            return data
        guild = "guild_id" in data
        if not session.intents & (GUILD_MESSAGES if guild else DIRECT_MESSAGES):
            return None
        if guild and not session.intents & MESSAGE_CONTENT and "content" in data:
            return {**data, "content": "", "attachments": []}
        return data

    @property
    def connected(self) -> int:
        """How many sessions have a live socket."""
        return sum(1 for s in self.sessions.values() if s.socket is not None and not s.socket.closed)

    async def drop(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Close every socket with `code`; the sessions stay resumable."""
        for session in self.sessions.values():
            if session.socket is not None:
                socket, session.socket = session.socket, None
                await socket.close(code=code)

    async def cut(self) -> None:
        """Break every connection without a word."""
        for session in self.sessions.values():
            socket, session.socket = session.socket, None
            if socket is not None and socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()

    async def ask_to_reconnect(self) -> None:
        """op 7."""
        for session in self.sessions.values():
            if session.socket is not None:
                await session.socket.send_json({"op": 7, "d": None, "s": None, "t": None})

    async def forget(self) -> None:
        """Every session becomes invalid: op 9, d=false, on resume too."""
        sessions, self.sessions = self.sessions, {}
        for session in sessions.values():
            if session.socket is not None:
                await session.socket.send_json({"op": 9, "d": False, "s": None, "t": None})

    async def until_connected(self, seconds: float = 10.0) -> None:
        """Wait until a client has identified or resumed."""
        async with asyncio.timeout(seconds):
            while not self.connected:
                await asyncio.sleep(0.01)
