"""What came in and is waited for: platform ids already seen, open turns, open approvals, small notes.

A platform's message is looked up here before anything is downloaded, for seven
days; the acceptor's own deduplication stands behind it. A turn is written down
before it is submitted and crossed out when its answer has been delivered, so that
after a restart no answer is forgotten.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from channels.base import Address
from channels.database import Database
from channels.items import Turn

SEEN_SECONDS = 7 * 86_400.0
APPROVAL_SECONDS = 86_400.0
PEOPLE_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What a platform's message became. `digest` tells an edit that changed nothing."""

    message_id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTurn:
    """A turn from before the restart; `final` is its text where it had ended, `accepted` whether it was durable."""

    turn: Turn
    accepted: bool
    final: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenApproval:
    """What a button's token stands for."""

    token: str
    approval_id: str
    channel: str
    requester: str
    user: str
    language: str
    session: str
    question: str
    delivery_id: str


class Ledger:
    """Reads and writes of the tables named above. All raise sqlite3.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seen(self, key: str) -> Seen | None:
        """What the platform's message `key` became, if it came before."""

        def read(connection: sqlite3.Connection) -> Seen | None:
            row = connection.execute("SELECT message_id, digest FROM seen WHERE key = ?", (key,)).fetchone()
            return Seen(row["message_id"], row["digest"]) if row else None

        return await self._database.run(read)

    async def see(self, keys: Sequence[str], message_id: str, digest: str) -> None:
        """From now on `keys` are known as what became `message_id`."""
        now = time.time()

        def write(connection: sqlite3.Connection) -> None:
            for each in keys:
                connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", (each, message_id, digest, now))
            connection.execute("UPDATE turns SET accepted = 1 WHERE message_id = ?", (message_id,))

        await self._database.run(write)

    async def open_turn(self, channel: str, turn: Turn) -> None:
        """Somebody waits for this turn."""
        to = turn.address

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, NULL, ?)",
                (
                    turn.message_id,
                    channel,
                    turn.session,
                    to.kind,
                    to.chat,
                    to.thread,
                    turn.reply_to,
                    turn.requester,
                    turn.user,
                    turn.language,
                    turn.mode,
                    time.time(),
                ),
            )
            if turn.user:
                connection.execute(
                    "INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?)",
                    (turn.session, turn.requester, turn.user, turn.language),
                )

        await self._database.run(write)

    async def answered(self, message_id: str, text: str) -> None:
        """The turn ended with `text`, which is still to be delivered."""
        await self._database.run(
            lambda c: c.execute("UPDATE turns SET final = ? WHERE message_id = ?", (text, message_id))
        )

    async def close_turn(self, message_id: str) -> None:
        """Nobody waits for it any more."""
        await self._database.run(lambda c: c.execute("DELETE FROM turns WHERE message_id = ?", (message_id,)))

    async def open_turns(self, channel: str) -> list[OpenTurn]:
        """In the order they came."""

        def read(connection: sqlite3.Connection) -> list[OpenTurn]:
            rows = connection.execute("SELECT * FROM turns WHERE channel = ? ORDER BY rowid", (channel,))
            return [OpenTurn(turn=_turn(row), accepted=bool(row["accepted"]), final=row["final"]) for row in rows]

        return await self._database.run(read)

    async def person(self, session: str) -> tuple[str, str, str] | None:
        """Requester, user and language of who spoke last in `session`."""

        def read(connection: sqlite3.Connection) -> tuple[str, str, str] | None:
            row = connection.execute("SELECT * FROM people WHERE session = ?", (session,)).fetchone()
            return (row["requester"], row["user"], row["language"]) if row else None

        return await self._database.run(read)

    async def ask(self, approval: OpenApproval) -> None:
        """A question with buttons was asked."""
        a = approval
        await self._database.run(
            lambda c: c.execute(
                "INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    a.token,
                    a.approval_id,
                    a.channel,
                    a.requester,
                    a.user,
                    a.language,
                    a.session,
                    a.question,
                    a.delivery_id,
                    time.time(),
                ),
            )
        )

    async def asked(self, token: str) -> OpenApproval | None:
        """What the button with `token` is about."""
        return await self._approval("token", token)

    async def asked_about(self, approval_id: str) -> OpenApproval | None:
        """The question about `approval_id`."""
        return await self._approval("approval_id", approval_id)

    async def _approval(self, column: str, value: str) -> OpenApproval | None:
        def read(connection: sqlite3.Connection) -> OpenApproval | None:
            query = f"SELECT * FROM approvals WHERE {column} = ?"  # noqa: S608 - one of two names, both written here
            row = connection.execute(query, (value,)).fetchone()
            return OpenApproval(**{name: row[name] for name in OpenApproval.__slots__}) if row else None

        return await self._database.run(read)

    async def note(self, name: str) -> str | None:
        """A small thing that an adapter keeps."""

        def read(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row["value"])

        return await self._database.run(read)

    async def keep_note(self, name: str, value: str) -> None:
        """Keep it."""
        await self._database.run(lambda c: c.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value)))

    async def prune(self) -> None:
        """Forget what is old."""
        now = time.time()

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM seen WHERE at < ?", (now - SEEN_SECONDS,))
            connection.execute("DELETE FROM approvals WHERE at < ?", (now - APPROVAL_SECONDS,))
            connection.execute("DELETE FROM turns WHERE at < ?", (now - SEEN_SECONDS,))
            connection.execute("DELETE FROM people WHERE rowid <= (SELECT max(rowid) FROM people) - ?", (PEOPLE_KEPT,))

        await self._database.run(forget)


def _turn(row: sqlite3.Row) -> Turn:
    return Turn(
        message_id=row["message_id"],
        session=row["session"],
        address=Address(kind=row["place"], chat=row["chat"], thread=row["thread"]),
        reply_to=row["reply_to"],
        requester=row["requester"],
        user=row["user"],
        language=row["language"],
        mode=row["mode"],
    )
