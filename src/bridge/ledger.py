"""The ledger: what became of each call, written before its side effect.

A call is known by its idempotency key. `look` says what a request under a key means; the states are `received`,
`started`, `done` and `acknowledged`, and a row is never taken back before a day is over, except where surely
nothing was done. `calls.py` stands above; below is the database. Times are wall clock, as they outlive the process.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridge.database import Database, Statement
from bridge.errors import Effect
from bridge.protocol.frames import JsonObject
from bridge.protocol.outbox import Answer

KEEP_SECONDS = 24 * 3600.0
KEEP_ANSWER_SECONDS = 3600.0
KEEP_ANSWER_BYTES = 256 * 1024
"""Answers are kept for an hour after they were acknowledged, larger ones no longer than until then; a repetition
afterwards ends in 2006, effect `done`."""
_PRUNE_EVERY = 1000

Meaning: TypeAlias = Literal["new", "run", "answer", "conflict", "unknown", "gone"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a request under a known or unknown key means.

    `new`: never seen. `run`: seen, surely not done (or the person says it may be done twice). `answer`: here it
    is. `conflict`: the key was used for other content. `unknown`: begun before a crash, 2006. `gone`: done, but
    the answer is not kept any more.
    """

    meaning: Meaning
    answer: Answer | None = None


def content_of(method: str, params: JsonObject, server: str | None, hashed: str) -> str:
    """What a key stands for: a hash of method, name and arguments (`hashed`)."""
    name = params.get("name", params.get("uri", ""))
    text = "\0".join((method, server or "", str(name), hashed))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Ledger:
    """`write` methods don't wait; `started` with `synced` waits for the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_pruned = 0
        self._dirty: dict[str, int] = {}

    def busy(self, key: str) -> bool:
        """Whether something about `key` is still on its way into the file: then `settle` before `look`."""
        return self._dirty.get(key, 0) > self._database.committed

    async def settle(self) -> None:
        """Wait until what was written so far can be read."""
        await self._database.commit(synced=False)

    def _write(self, key: str, *statements: Statement) -> None:
        if len(self._dirty) > 4000:
            committed = self._database.committed
            self._dirty = {known: number for known, number in self._dirty.items() if number > committed}
        self._dirty[key] = self._database.write(*statements)

    def look(self, key: str, content: str, *, idempotent: bool, attempt: int) -> Finding:
        """What this key stands for. Calls that run right now are the caller's to know."""
        rows = self._database.read("SELECT content, state, kind, answer FROM calls WHERE key = ?", (key,))
        if not rows:
            damaged = self._database.damaged_at
            if attempt > 1 and not idempotent and damaged is not None and time.time() - damaged < KEEP_SECONDS:
                return Finding("unknown")  # the ledger that would know it was lost
            return Finding("new")
        known, state, kind, answer = rows[0]
        if known != content:
            return Finding("conflict")
        if answer is not None:
            return Finding("answer", Answer(kind, answer))
        if state in ("done", "acknowledged"):
            return Finding("gone")
        if state == "started" and not idempotent:
            return Finding("unknown")
        return Finding("run")

    def received(self, key: str, call_id: str, content: str, tool: str) -> None:
        """A call came and waits: for a person, or for room."""
        self._write(key, self._insert(key, call_id, content, tool, "received"))

    def _insert(self, key: str, call_id: str, content: str, tool: str, state: str) -> Statement:
        now = time.time()
        return (
            "INSERT INTO calls (key, id, content, tool, state, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET id = excluded.id, state = excluded.state, updated = excluded.updated",
            (key, call_id, content, tool, state, now, now),
        )

    async def started(self, key: str, call_id: str, content: str, tool: str, *, synced: bool) -> None:
        """To be called before the side effect. `synced` waits for the disk; raises Overloaded where it refuses."""
        statement = self._insert(key, call_id, content, tool, "started")
        if synced:
            await self._database.commit(statement, synced=True)
        else:
            self._write(key, statement)
        self._since_pruned += 1
        if self._since_pruned >= _PRUNE_EVERY:
            self.prune()

    async def done(self, key: str, answer: Answer, effect: Effect, *, wait: bool) -> None:
        """The answer, before it leaves. `wait`: until it is in the file."""
        if wait:
            await self._database.commit(self._done(key, answer, effect), synced=False)
        else:
            self.done_soon(key, answer, effect)

    def done_soon(self, key: str, answer: Answer, effect: Effect) -> None:
        self._write(key, self._done(key, answer, effect))

    def _done(self, key: str, answer: Answer, effect: Effect) -> Statement:
        return (
            "UPDATE calls SET state = 'done', kind = ?, answer = ?, effect = ?, updated = ? WHERE key = ?",
            (answer.kind, answer.payload, effect, time.time(), key),
        )

    def acknowledged(self, key: str) -> None:
        """The gateway has the answer. Where surely nothing was done, the key is free again."""
        self._write(
            key,
            ("DELETE FROM calls WHERE key = ? AND kind = 'ERROR' AND effect = 'none'", (key,)),
            (
                "UPDATE calls SET state = 'acknowledged', updated = ?, "
                "answer = CASE WHEN length(answer) > ? THEN NULL ELSE answer END WHERE key = ? AND state = 'done'",
                (time.time(), KEEP_ANSWER_BYTES, key),
            ),
        )

    def unacknowledged(self) -> list[tuple[str, str, Answer]]:
        """Answers that the gateway has not confirmed, from before a restart: `(key, id, answer)`, oldest first."""
        rows = self._database.read(
            "SELECT key, id, kind, answer FROM calls WHERE state = 'done' AND answer IS NOT NULL ORDER BY updated"
        )
        return [(key, call_id, Answer(kind, answer)) for key, call_id, kind, answer in rows]

    def interrupted(self) -> list[tuple[str, str, str]]:
        """Calls that were begun and not finished before a restart: `(key, id, tool)`."""
        return [
            (key, call_id, tool)
            for key, call_id, tool in self._database.read("SELECT key, id, tool FROM calls WHERE state = 'started'")
        ]

    def prune(self) -> None:
        """Drop what is older than a day."""
        self._since_pruned = 0
        old = time.time() - KEEP_SECONDS
        self._database.write(
            ("DELETE FROM calls WHERE updated < ?", (old,)),
            (
                "UPDATE calls SET answer = NULL WHERE state = 'acknowledged' AND updated < ?",
                (time.time() - KEEP_ANSWER_SECONDS,),
            ),
            ("DELETE FROM challenges WHERE expires < ?", (old,)),
        )
