"""What the agent needs of the log: the durable records of all sessions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bus.events import JsonObject
from bus.keys import SessionKey


@dataclass(slots=True)
class Record:
    """One line of a session's log: `{"seq", "type", "timestamp", ...data}`.

    `agent/sessions/records.py` lists the types and the members of each.
    """

    seq: int
    type: str
    timestamp: str
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHead:
    """The first line of a session's file, and what later records changed of it."""

    key: SessionKey
    agent_id: str
    channel: str
    peer_id: str
    owner: str
    """The user, or '' for a group's session, which belongs to the group."""
    created_at: str
    title: str = ""
    updated_at: str = ""
    message_count: int = 0
    listed: bool = True
    """False for ephemeral sessions."""
    deleted: bool = False
    settings: JsonObject = field(default_factory=dict)
    """What other `session.updated` records set: `mode`, `queue`, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What is known of a session without reading its file.

    `last_seq` is the number to go on from (after a crash: the end of the reserved block).
    `crashed` says that numbers between the last record and `last_seq` may be missing.
    `open_turns` are the message ids accepted but not ended, in order.
    """

    head: SessionHead
    last_seq: int
    crashed: bool = False
    open_turns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """What an idempotency key was used for within the last 24 h."""

    message_id: str
    session: SessionKey
    seq: int
    content_hash: str


class SessionStore(Protocol):
    """The durable log of all sessions. One process owns it."""

    async def state(self, key: SessionKey) -> SessionState | None:
        """What is known of `key`; None where it never existed. A deleted one has `head.deleted`."""
        ...

    def state_now(self, key: SessionKey) -> SessionState | None:
        """The same without waiting, for a session that was appended to just now. Raises Overloaded."""
        ...

    def append(
        self, key: SessionKey, records: Sequence[Record], *, head: SessionHead | None = None
    ) -> "asyncio.Future[None]":
        """Write in order, as one: all of `records` survive a crash, or none.

        `head` is given with the first records of a new session. Returns at once; awaiting the result waits for
        the disk. Raises Overloaded (from the await) where the disk refuses: then nothing of `records` is in the log.
        """
        ...

    async def read(
        self, key: SessionKey, *, after_seq: int = 0, before_seq: int | None = None, limit: int | None = None,
        types: frozenset[str] | None = None, newest: bool = False,
    ) -> list[Record]:  # fmt: skip
        """Records in rising order with `after_seq < seq < before_seq`; with `newest`, the last `limit` of them."""
        ...

    def synced_seq(self, key: SessionKey) -> int | None:
        """The last number of `key` on the disk while later ones, which `read` shows, are on their way; else None."""
        ...

    async def duplicate(self, user: str, idempotency_key: str) -> Duplicate | None:
        """What `user` did under this key in the last 24 h (journal and index, no file is read)."""
        ...
