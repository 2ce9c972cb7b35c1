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

from bridge.database import Database
from bridge.known import Known
from bridge.ledger_rows import Row, forget, store
from bridge.protocol.frames import JsonObject
from bridge.protocol.outbox import Answer

KEEP_SECONDS = 24 * 3600.0
KEEP_ANSWER_SECONDS = 3600.0
KEEP_ANSWER_BYTES = 256 * 1024
"""Answers are kept for an hour after they were acknowledged, larger ones no longer than until then; a repetition
afterwards ends in 2006, effect `done`."""
_PRUNE_EVERY = 1000
_PRUNE_SECONDS = 900.0
_GATHER_SECONDS = 0.03
"""Longer than most calls take under load, so that received, started, done and acknowledged are one row written once.
What has to be in the file before the effect, or before its answer leaves, does not wait for it (`synced`, `wait`)."""

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
    """What nobody waits for is gathered for some milliseconds, so that a quick call is one row written once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_pruned = 0
        self._dirty: dict[str, int] = {}
        self._soon: dict[str, Row] = {}
        self._acknowledged: dict[str, None] = {}
        self._gathering = False
        self._known = Known(key for (key,) in database.read("SELECT key FROM calls"))

    def busy(self, key: str) -> bool:
        """Whether something about `key` is still on its way into the file: then `settle` before `look`."""
        return key in self._soon or key in self._acknowledged or self._dirty.get(key, 0) > self._database.committed

    async def settle(self) -> None:
        """Wait until what was written so far can be read. Raises Overloaded."""
        self.flush()
        await self._database.commit(synced=False)

    def flush(self) -> None:
        """Hand over what was gathered."""
        self._gathering = False
        rows, self._soon = self._soon, {}
        acknowledged, self._acknowledged = self._acknowledged, {}
        if not rows and not acknowledged:
            return
        now = time.time()
        number = self._database.write(*store(rows, now), *forget(list(acknowledged), now, KEEP_ANSWER_BYTES))
        self._database.flush()
        if len(self._dirty) > 4000:
            committed = self._database.committed
            self._dirty = {key: written for key, written in self._dirty.items() if written > committed}
        self._dirty.update(dict.fromkeys(rows, number))
        self._dirty.update(dict.fromkeys(acknowledged, number))

    def _gather(self) -> None:
        """What is in `_soon` and `_acknowledged` is written soon."""
        if self._gathering:
            return
        self._gathering = True
        try:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)
        except RuntimeError:  # before the loop runs
            self.flush()

    def look(self, key: str, content: str, *, idempotent: bool, attempt: int) -> Finding:
        """What this key stands for. Calls that run right now are the caller's to know."""
        rows = None
        if key in self._known:
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

    def received(self, key: str, row: Row) -> None:
        """A call came and waits: for a person, or for room."""
        self._begin(key, row)
        self._gather()

    def _begin(self, key: str, row: Row) -> None:
        self._soon[key] = row
        self._known.add(key)

    def started_soon(self, key: str, row: Row) -> None:
        """To be called before the side effect of what may be done twice: written soon."""
        self._begin(key, row)
        self._gather()
        self._count()

    async def started(self, key: str, row: Row) -> None:
        """To be called before the side effect: returns when it is on the disk, raises Overloaded where that refuses."""
        self._soon.pop(key, None)
        self._known.add(key)
        await self._database.commit(*store({key: row}, time.time()), synced=True)
        self._count()

    def _count(self) -> None:
        self._since_pruned += 1
        if self._since_pruned >= _PRUNE_EVERY:
            self.prune()

    async def done(self, key: str, row: Row) -> None:
        """The answer, before it leaves: returns when it is in the file."""
        self._soon.pop(key, None)
        await self._database.commit(*store({key: row}, time.time()), synced=False)

    def done_soon(self, key: str, row: Row) -> None:
        """The same, written soon."""
        self._begin(key, row)
        self._gather()

    def acknowledged(self, key: str) -> None:
        """The gateway has the answer. Where surely nothing was done, the key is free again."""
        row = self._soon.get(key)
        if row is None or row.answer is None or (row.answer.kind == "ERROR" and row.effect == "none"):
            self._soon.pop(key, None)
            self._acknowledged[key] = None
            self._gather()
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

    def interrupted(self) -> list[tuple[str, Row]]:
        """Calls that were begun and not finished before a restart, by their keys."""
        rows = self._database.read("SELECT key, id, content, tool FROM calls WHERE state = 'started'")
        return [(key, Row(call_id, content, tool, "started")) for key, call_id, content, tool in rows]

    async def keep_tidy(self, seconds: float = _PRUNE_SECONDS) -> None:
        """Until cancelled: a bridge that is seldom used keeps nothing for longer than a busy one."""
        while True:
            await asyncio.sleep(seconds)
            self.prune()

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
