"""What goes out, kept until it is settled: queued, sent, unknown or refused, and not before which time.

A row is written before a send leaves, so that after a crash it is known that one
may have arrived. Refused and unknown rows stay listed for `gateway delivery list`
for 30 days, what was sent for two. The decisions are `delivery.py`'s; this module
only keeps and finds.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any

from bus.context import timestamp
from bus.events import JsonObject
from channels.base import Address
from channels.database import Database
from channels.items import Body, Item

KEEP_SENT_SECONDS = 2 * 86_400.0
KEEP_FAILED_SECONDS = 30 * 86_400.0
PREVIEW_CHARS = 120

_COLUMNS = (
    "delivery_id, channel, kind, place, chat, thread, turn, number, reply_to, reference, owner, want, shown, "
    "platform_id, state, reason, in_flight, placeholder, tried_at, attempts, not_before, at, "
    "number_after, number_until, doubts"
)
_CHANGING = ("want", "shown", "platform_id", "state", "reason", "in_flight", "placeholder", "tried_at", "attempts",
             "not_before", "number_after", "number_until", "doubts")  # fmt: skip
_MARKS = ", ".join("?" * 25)
_SET = ", ".join(f"{name} = excluded.{name}" for name in _CHANGING)
# made of names in this file
_UPSERT = f"INSERT INTO deliveries ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (delivery_id) DO UPDATE SET {_SET}"  # noqa: S608


class Outbox:
    """The deliveries of all channels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, channel: str, items: Iterable[Item]) -> None:
        """Keep `items` as they are now. Raises sqlite3.Error."""
        now = time.time()
        for item in items:
            item.at = item.at or now
        rows = [_to_row(channel, item) for item in items]
        if rows:
            await self._database.run(lambda c: c.executemany(_UPSERT, rows))

    async def load(self, channel: str) -> list[Item]:
        """What isn't settled, and everything of turns that are still open, in the order it was made."""

        def read(connection: sqlite3.Connection) -> list[Item]:
            rows = connection.execute(
                "SELECT * FROM deliveries WHERE channel = ? AND (state = 'queued' OR turn IN "
                "(SELECT message_id FROM turns WHERE channel = ?)) ORDER BY rowid",
                (channel, channel),
            )
            return [_from_row(row) for row in rows]

        return await self._database.run(read)

    async def find(self, delivery_id: str) -> tuple[str, Item] | None:
        """The channel and the item."""

        def read(connection: sqlite3.Connection) -> tuple[str, Item] | None:
            row = connection.execute("SELECT * FROM deliveries WHERE delivery_id = ?", (delivery_id,)).fetchone()
            return (row["channel"], _from_row(row)) if row else None

        return await self._database.run(read)

    async def by_reference(self, reference: str) -> list[Item]:
        """The messages that ask for the approval `reference`."""

        def read(connection: sqlite3.Connection) -> list[Item]:
            return [_from_row(row) for row in connection.execute(
                "SELECT * FROM deliveries WHERE reference = ?", (reference,))]  # fmt: skip

        return await self._database.run(read)

    async def questions(self, channel: str) -> frozenset[str]:
        """The approvals that a message of this channel asks for, or will as soon as it is out."""

        def read(connection: sqlite3.Connection) -> frozenset[str]:
            rows = connection.execute(
                "SELECT reference FROM deliveries WHERE channel = ? AND kind = 'approval' "
                "AND state IN ('queued', 'sent')", (channel,)
            )  # fmt: skip
            return frozenset(row["reference"] for row in rows)

        return await self._database.run(read)

    async def failed(self, *, limit: int = 200) -> list[JsonObject]:
        """The refused and the unknown, the newest first, as `delivery.list` shows them."""

        def read(connection: sqlite3.Connection) -> list[JsonObject]:
            rows = connection.execute(
                "SELECT * FROM deliveries WHERE state IN ('refused', 'unknown') ORDER BY at DESC LIMIT ?", (limit,)
            )
            return [_listed(row) for row in rows]

        return await self._database.run(read)

    async def prune(self) -> None:
        """Forget what is old."""
        now = time.time()

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM deliveries WHERE (state = 'sent' AND at < ? AND turn NOT IN "
                "(SELECT message_id FROM turns)) OR (state IN ('refused', 'unknown') AND at < ?)",
                (now - KEEP_SENT_SECONDS, now - KEEP_FAILED_SECONDS),
            )

        await self._database.run(forget)


def _wall(monotonic: float | None) -> float | None:
    return monotonic - time.monotonic() + time.time() if monotonic else monotonic


def _monotonic(wall: float | None, most: float) -> float | None:
    """A stored time on this process's clock; never further ahead than `most` seconds, should the clock have jumped."""
    if not wall:
        return wall
    return time.monotonic() + min(wall - time.time(), most)


def _to_row(channel: str, item: Item) -> Sequence[Any]:
    want = json.dumps(item.want.to_json(), ensure_ascii=False) if item.want else None
    shown = json.dumps(item.shown.to_json(), ensure_ascii=False) if item.shown else None
    return (
        item.delivery_id, channel, item.kind, item.address.kind, item.address.chat, item.address.thread, item.turn,
        item.index, item.reply_to, item.reference, item.owner, want, shown, item.platform_id, item.state, item.reason,
        item.in_flight, item.placeholder, _wall(item.tried_at), item.attempts, _wall(item.not_before) or 0.0, item.at,
        item.after, item.until, item.doubts,
    )  # fmt: skip


def _from_row(row: sqlite3.Row) -> Item:
    return Item(
        delivery_id=row["delivery_id"],
        address=Address(kind=row["place"], chat=row["chat"], thread=row["thread"]),
        want=Body.from_json(json.loads(row["want"])) if row["want"] else None,
        turn=row["turn"],
        index=row["number"],
        kind=row["kind"],
        reply_to=row["reply_to"],
        reference=row["reference"],
        owner=row["owner"],
        platform_id=row["platform_id"],
        shown=Body.from_json(json.loads(row["shown"])) if row["shown"] else None,
        state=row["state"],
        reason=row["reason"],
        in_flight=bool(row["in_flight"]),
        placeholder=bool(row["placeholder"]),
        tried_at=_monotonic(row["tried_at"], 0.0),
        attempts=row["attempts"],
        not_before=_monotonic(row["not_before"], 86_400.0) or 0.0,
        at=row["at"],
        after=row["number_after"],
        until=row["number_until"],
        doubts=row["doubts"],
    )


def _listed(row: sqlite3.Row) -> JsonObject:
    item = _from_row(row)
    body = item.want or item.shown
    preview = body.markdown if body else ""
    if body is not None and body.media is not None:
        preview = body.media.name
    return {
        "delivery_id": item.delivery_id,
        "channel": row["channel"],
        "chat_id": item.address.chat,
        "state": item.state,
        "reason": item.reason,
        "preview": preview[:PREVIEW_CHARS],
        "at": timestamp(item.at),
    }
