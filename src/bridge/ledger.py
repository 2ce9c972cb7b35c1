"""The ledger: what became of each call, written before its side effect.

A call is known by its idempotency key. `look` says what a request under a key means; the states are `received`,
`started`, `done` and `acknowledged`, and a row is never taken back before a day is over, except where surely
nothing was done. `calls.py` stands above; below is the database. Times are wall clock, as they outlive the process.
"""

import asyncio
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
_GATHER_SECONDS = 0.005

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


@dataclass(slots=True)
class _Row:
    """What is to be written soon of a call: only its latest state counts."""

    call_id: str
    content: str
    tool: str
    state: str
    answer: Answer | None = None
    effect: Effect = "none"


class Ledger:
    """What nobody waits for is gathered for some milliseconds, so that a quick call is one row written once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_pruned = 0
        self._dirty: dict[str, int] = {}
        self._soon: dict[str, _Row] = {}

    def busy(self, key: str) -> bool:
        """Whether something about `key` is still on its way into the file: then `settle` before `look`."""
        return key in self._soon or self._dirty.get(key, 0) > self._database.committed

    async def settle(self) -> None:
        """Wait until what was written so far can be read. Raises Overloaded."""
        self.flush()
        await self._database.commit(synced=False)

    def flush(self) -> None:
        """Hand over what was gathered."""
        if not self._soon:
            return
        now = time.time()
        rows, self._soon = self._soon, {}
        number = self._database.write(*(_upsert(key, row, now) for key, row in rows.items()))
        self._database.flush()
        if len(self._dirty) > 4000:
            committed = self._database.committed
            self._dirty = {key: written for key, written in self._dirty.items() if written > committed}
        for key in rows:
            self._dirty[key] = number

    def _gather(self, key: str, row: _Row) -> None:
        self._soon[key] = row
        if len(self._soon) == 1:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)

    def _write(self, key: str, *statements: Statement) -> None:
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
        self._gather(key, _Row(call_id, content, tool, "received"))

    async def started(self, key: str, call_id: str, content: str, tool: str, *, synced: bool) -> None:
        """To be called before the side effect. `synced` waits for the disk; raises Overloaded where it refuses."""
        row = _Row(call_id, content, tool, "started")
        if synced:
            self._soon.pop(key, None)
            await self._database.commit(_upsert(key, row, time.time()), synced=True)
        else:
            self._gather(key, row)
        self._since_pruned += 1
        if self._since_pruned >= _PRUNE_EVERY:
            self.prune()

    async def done(self, key: str, answer: Answer, effect: Effect, *, wait: bool) -> None:
        """The answer, before it leaves. `wait`: until it is in the file."""
        if wait:
            self._soon.pop(key, None)
            await self._database.commit(_done(key, answer, effect), synced=False)
        else:
            self.done_soon(key, answer, effect)

    def done_soon(self, key: str, answer: Answer, effect: Effect) -> None:
        row = self._soon.get(key)
        if row is None:
            self._write(key, _done(key, answer, effect))
        else:
            row.state, row.answer, row.effect = "done", answer, effect

    def acknowledged(self, key: str) -> None:
        """The gateway has the answer. Where surely nothing was done, the key is free again."""
        row = self._soon.get(key)
        if row is None or row.answer is None or (row.answer.kind == "ERROR" and row.effect == "none"):
            self._soon.pop(key, None)
            self._write(
                key,
                (
                    "DELETE FROM calls WHERE key = ? AND (kind = 'ERROR' AND effect = 'none' OR state = 'received')",
                    (key,),
                ),
                (
                    "UPDATE calls SET state = 'acknowledged', updated = ?, "
                    "answer = CASE WHEN length(answer) > ? THEN NULL ELSE answer END WHERE key = ? AND state = 'done'",
                    (time.time(), KEEP_ANSWER_BYTES, key),
                ),
            )
            return
        row.state = "acknowledged"
        if len(row.answer.payload) > KEEP_ANSWER_BYTES:
            row.answer = Answer(row.answer.kind, b"")

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


def _upsert(key: str, row: _Row, now: float) -> Statement:
    kind, payload = (row.answer.kind, row.answer.payload or None) if row.answer is not None else (None, None)
    return (
        "INSERT INTO calls (key, id, content, tool, state, kind, answer, effect, created, updated) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET id = excluded.id, "
        "state = excluded.state, kind = excluded.kind, answer = excluded.answer, effect = excluded.effect, "
        "updated = excluded.updated",
        (key, row.call_id, row.content, row.tool, row.state, kind, payload, row.effect, now, now),
    )


def _done(key: str, answer: Answer, effect: Effect) -> Statement:
    return (
        "UPDATE calls SET state = 'done', kind = ?, answer = ?, effect = ?, updated = ? WHERE key = ?",
        (answer.kind, answer.payload, effect, time.time(), key),
    )
