"""`session.*`: which there are, reading along, renaming, deleting, finding, taking home."""

from typing import Annotated

from pydantic import Field

from agent.ports.sessions import SessionHead
from bus.errors import BadParameters
from bus.events import JsonObject
from bus.keys import SessionKey
from gateway.auth import Principal
from gateway.handlers.access import Access, not_found
from gateway.handlers.call import Call, Params
from gateway.handlers.chat import KeyText
from gateway.handlers.deleting import Deleting
from gateway.handlers.dispatch import Method, method
from gateway.handlers.ports import Sessions, Turns
from gateway.hub import Hub
from gateway.identity.roles import ADMINS

Limit = Annotated[int, Field(ge=1, le=500)]
_OWN, _GROUPS = "o", "g"


class List(Params):
    limit: Limit = 50
    cursor: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    channel: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class One(Params):
    session_key: KeyText


class Rename(Params):
    session_key: KeyText
    title: Annotated[str, Field(max_length=500)]


class Search(Params):
    query: Annotated[str, Field(min_length=1, max_length=1000)]
    limit: Limit = 50


class Subscribe(Params):
    session_key: KeyText
    after_seq: Annotated[int, Field(ge=0)] | None = None


class SessionMethods:
    """The family."""

    def __init__(self, *, hub: Hub, access: Access, sessions: Sessions, turns: Turns, deleting: Deleting) -> None:
        self._hub = hub
        self._access = access
        self._sessions = sessions
        self._turns = turns
        self._deleting = deleting

    def table(self) -> list[Method]:
        return [
            method("session.list", "chat read", List, self.list),
            method("session.delete", "chat", One, self.delete),
            method("session.rename", "chat", Rename, self.rename),
            method("session.search", "chat read", Search, self.search),
            method("session.export", "chat read", One, self.export),
            method("session.subscribe", "chat read", Subscribe, self.subscribe),
            method("session.unsubscribe", "chat read", One, self.unsubscribe),
        ]

    async def list(self, call: Call, params: List) -> JsonObject:
        """One's own sessions, the latest first; for an admin then those of groups."""
        part, cursor = _cursor(params.cursor)
        parts = {_OWN: call.who.user} | ({_GROUPS: ""} if _sees_groups(call.who) else {})
        heads: list[SessionHead] = []
        following: str | None = None
        for name in list(parts)[1 if part == _GROUPS else 0 :]:
            if len(heads) == params.limit:
                following = name
                break
            page, more = await self._sessions.list_sessions(
                parts[name], limit=params.limit - len(heads), cursor=cursor, channel=params.channel
            )
            heads += page
            cursor = None
            if more is not None:
                following = name + more
                break
        return {"sessions": [shown(head) for head in heads], "next_cursor": following}

    async def delete(self, call: Call, params: One) -> JsonObject:
        """Stop the session's turn and remove the session."""
        found = await self._access.existing(params.session_key, call.who)
        await self._deleting.delete(found.key, call.who.actor())
        return {"deleted": True}

    async def rename(self, call: Call, params: Rename) -> JsonObject:
        """Give a session a title."""
        found = await self._access.existing(params.session_key, call.who)
        return {"title": await self._turns.rename(found.key, params.title)}

    async def search(self, call: Call, params: Search) -> JsonObject:
        """Find words in one's own sessions."""
        hits = await self._sessions.search(call.who.user, params.query, limit=params.limit)
        return {"hits": [{"session_key": key.text, "seq": seq, "snippet": text} for key, seq, text in hits]}

    async def export(self, call: Call, params: One) -> JsonObject:
        """All lines of a session's log."""
        found = await self._access.existing(params.session_key, call.who)
        return {"lines": list(await self._sessions.export(found.key))}

    async def subscribe(self, call: Call, params: Subscribe) -> JsonObject:
        """Read a session's events from now on, or from a number; `running` names the message being answered."""
        found = await self._access.open(params.session_key, call.who)
        if not found.exists and found.key.scope:
            raise not_found()
        if call.reader is None:
            raise BadParameters("events need a WebSocket")
        known = self._last_seq(found.key, found.state.last_seq if found.state is not None else 0)
        reading, last, count = self._hub.read(call.reader, found.key, known, params.after_seq)
        call.after_reply.append(lambda: self._hub.release(reading))
        running = self._turns.running(found.key)
        return {"last_seq": last, "replayed": count} | ({"running": running} if running is not None else {})

    def _last_seq(self, key: SessionKey, stored: int) -> int:
        live = self._turns.last_seq(key)
        return stored if live is None else live

    async def unsubscribe(self, call: Call, params: One) -> JsonObject:
        """Read no more of it."""
        found = await self._access.open(params.session_key, call.who)
        if call.reader is None:
            raise BadParameters("events need a WebSocket")
        if not self._hub.stop_reading(call.reader, found.key) and found.state is None:
            raise not_found()
        known = self._last_seq(found.key, found.state.last_seq if found.state is not None else 0)
        return {"last_seq": self._hub.last_seq(found.key) or known, "replayed": 0}


def _sees_groups(principal: Principal) -> bool:
    return principal.role in ADMINS and principal.is_admin


def _cursor(text: str | None) -> tuple[str, str | None]:
    """Which part of the list, and the store's own cursor within it. Raises BadParameters."""
    if text is None:
        return _OWN, None
    if text[0] not in (_OWN, _GROUPS):
        raise BadParameters("cursor: take it from next_cursor")
    return text[0], text[1:] or None


def shown(head: SessionHead) -> JsonObject:
    """A session as `session.list` shows it."""
    return {
        "session_key": head.key.text, "agent_id": head.agent_id, "channel": head.channel, "peer_id": head.peer_id,
        "title": head.title, "created_at": head.created_at, "updated_at": head.updated_at,
        "message_count": head.message_count,
    }  # fmt: skip
