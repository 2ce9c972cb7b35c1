"""Who used how much: tokens, money and tool calls by user and day, kept in SQLite.

A charge is one turn's use of one model, written before the turn's end is told, so
that the sums survive a restart and agree with what the providers counted. Days are
UTC. Above are `runner.py` (charges) and the handlers (`usage.get`, `/usage`).
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from agent.ports.people import Charge
from agent.settings import Budget, BudgetSettings
from bus.errors import Overloaded, RateLimited
from bus.events import Actor, JsonObject

_T = TypeVar("_T")
KEPT_DAYS = 400
_SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
  message_id TEXT NOT NULL, attempt INTEGER NOT NULL, model TEXT NOT NULL,
  user TEXT NOT NULL, day TEXT NOT NULL,
  prompt INTEGER NOT NULL, completion INTEGER NOT NULL, cached INTEGER NOT NULL, total INTEGER NOT NULL,
  cost REAL NOT NULL, priced INTEGER NOT NULL, tool_calls INTEGER NOT NULL, estimated INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (message_id, attempt, model)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS charges_by_user ON charges (user, day);
"""
_INSERT = "INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_Row = tuple[str, int, str, str, str, int, int, int, int, float, int, int, int]
"""As the columns of the table."""
_SUMS = ("turns", "prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens", "cost", "tool_calls",
         "estimated_tokens", "unpriced_tokens")  # fmt: skip
_BY_DAY = """
SELECT day, COUNT(DISTINCT message_id), SUM(prompt), SUM(completion), SUM(cached), SUM(total), SUM(cost),
  SUM(tool_calls), SUM(estimated), SUM(CASE WHEN priced THEN 0 ELSE total END)
FROM charges WHERE user = ? AND day >= ? GROUP BY day ORDER BY day DESC"""
_Batched = tuple[Sequence[_Row], "asyncio.Future[None]"]
"""The rows of one turn, and who waits for them."""


@dataclass(slots=True)
class _Today:
    day: str
    tokens: int
    cost: float
    warned: bool = False


class Accounts:
    """Implements `Accountant` and the handlers' `UsageBook`. An async context manager."""

    def __init__(self, file: Path, budgets: BudgetSettings) -> None:
        self._file = file
        self._budgets = budgets
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accounts")
        self._today: dict[str, _Today] = {}
        self._waiting: list[_Batched] = []
        self._writing: asyncio.Future[list[bool]] | None = None
        self._swept = _day()

    async def __aenter__(self) -> "Accounts":
        await self._do(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._writing is not None or self._waiting:
            await (asyncio.sleep(0) if self._writing is None else asyncio.wait([self._writing]))
        await self._do(self._close)
        self._thread.shutdown()

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        self._database = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
        self._file.chmod(0o600)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)
        columns = {row[1] for row in self._database.execute("PRAGMA table_info(charges)")}
        if "estimated" not in columns:  # a file of an earlier version
            self._database.execute("ALTER TABLE charges ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0")
        self._prune()

    def _prune(self) -> None:
        oldest = (datetime.now(UTC) - timedelta(days=KEPT_DAYS)).strftime("%Y-%m-%d")
        self._database.execute("DELETE FROM charges WHERE day < ?", (oldest,))

    async def sweep(self) -> None:
        """Forget the days that are no longer kept; once a day, however often it is called. Raises Overloaded."""
        day = _day()
        if day == self._swept:
            return
        try:
            await self._do(self._prune)
        except sqlite3.Error as error:
            raise Overloaded("the accounts can't be written", retry_after_ms=5000) from error
        self._swept = day

    def _close(self) -> None:
        self._database.close()

    # ------------------------------------------------------------ budgets

    def budget_of(self, actor: Actor) -> Budget:
        """The nearest budget: the user's own, else the role's, else everybody's."""
        return self._budgets.users.get(actor.user) or self._budgets.roles.get(actor.role) or self._budgets

    async def check(self, actor: Actor) -> str:
        """A warning, once a day when the budget runs low, or ''. Raises RateLimited until the next day (UTC)."""
        budget = self.budget_of(actor)
        if budget.daily_usd is None and budget.daily_tokens is None:
            return ""
        today = await self._sums(actor.user)
        used = max(
            today.cost / budget.daily_usd if budget.daily_usd else (1.0 if budget.daily_usd == 0 else 0.0),
            today.tokens / budget.daily_tokens if budget.daily_tokens else (1.0 if budget.daily_tokens == 0 else 0.0),
        )
        if used >= 1:
            renewal = _midnight()
            text = f"today's budget is used up; it is renewed at {renewal:%Y-%m-%dT%H:%MZ}"
            if actor.language.startswith("zh"):
                text = f"今天的额度已用完，将于 {renewal:%Y-%m-%dT%H:%MZ} 恢复"
            raise RateLimited(text, retry_after_ms=max(1000, round((renewal.timestamp() - time.time()) * 1000)))
        if used >= self._budgets.warn_at and not today.warned:
            today.warned = True
            chinese = actor.language.startswith("zh")
            return f"今天的额度已使用 {used:.0%}" if chinese else f"{used:.0%} of today's budget is used"
        return ""

    async def _sums(self, user: str) -> _Today:
        day = _day()
        known = self._today.get(user)
        if known is None or known.day != day:
            row = await self._do(
                lambda: self._database.execute(
                    "SELECT COALESCE(SUM(total), 0), COALESCE(SUM(cost), 0) FROM charges WHERE user = ? AND day = ?",
                    (user, day),
                ).fetchone()
            )
            if len(self._today) > 10_000:
                self._today.clear()
            known = self._today[user] = _Today(day, row[0], row[1])
        return known

    # ------------------------------------------------------------ charges

    async def charge(self, charges: Sequence[Charge]) -> None:
        """Keep them; a charge that is there already is left as it is."""
        if not charges:
            return
        day = _day()
        rows: list[_Row] = [
            (
                c.message_id, c.attempt, c.model, c.actor.user, day, c.usage.prompt_tokens, c.usage.completion_tokens,
                c.usage.cached_tokens, c.usage.total_tokens, c.usage.cost or 0.0, int(c.usage.cost is not None),
                c.tool_calls, c.usage.estimated_tokens or 0,
            )
            for c in charges
        ]  # fmt: skip
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, kept))
        if self._writing is None and len(self._waiting) == 1:
            # Not at once: the thread takes the interpreter, and what this turn has just said is still to be sent.
            asyncio.get_running_loop().call_soon(self._write)
        await asyncio.shield(kept)

    def _write(self) -> None:
        """Begin a transaction with what waits; turns that end meanwhile share the next one."""
        batch, self._waiting = self._waiting, []
        rows = [row for rows, _ in batch for row in rows]
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._insert, rows)
        self._writing.add_done_callback(lambda done: self._written(batch, rows, done))

    def _written(self, batch: "list[_Batched]", rows: Sequence[_Row], done: "asyncio.Future[list[bool]]") -> None:
        self._writing = None
        error = done.exception()
        if error is None:
            for row, fresh in zip(rows, done.result(), strict=True):
                known = self._today.get(row[3])
                if fresh and known is not None and known.day == row[4]:
                    known.tokens += row[8]
                    known.cost += row[9]
        for _, kept in batch:
            if kept.done():
                continue
            if error is None:
                kept.set_result(None)
            else:
                kept.set_exception(error)
                kept.exception()  # whoever waited may have been cancelled
        if self._waiting:
            self._write()

    def _insert(self, rows: Sequence[_Row]) -> list[bool]:
        self._database.execute("BEGIN")
        try:
            kept = [self._database.execute(_INSERT, row).rowcount > 0 for row in rows]
            self._database.execute("COMMIT")
        except BaseException:  # whatever it was: an open transaction would spoil the next batch
            if self._database.in_transaction:  # some refusals of the disk end it by themselves
                self._database.execute("ROLLBACK")
            raise
        return kept

    async def forget(self, user: str) -> None:
        """What a user who is gone used is nobody's any more; that it was used stays."""
        await self._do(lambda: self._database.execute("UPDATE charges SET user = '' WHERE user = ?", (user,)))
        self._today.pop(user, None)

    async def usage(self, user: str, days: int, role: str = "") -> JsonObject:
        """`{days: [{day, turns, prompt_tokens, …, cost, tool_calls}], total, budget}`, the newest day first.

        `estimated_tokens` are those of the total that no provider came to count; `unpriced_tokens` those whose
        price isn't known. `cost` is that of all others, and None where there are no others.
        """
        oldest = (datetime.now(UTC) - timedelta(days=days - 1)).strftime("%Y-%m-%d")
        rows = await self._do(lambda: self._database.execute(_BY_DAY, (user, oldest)).fetchall())
        by_day = [{"day": row[0]} | dict(zip(_SUMS, row[1:], strict=True)) for row in rows]
        total = {name: sum(entry[name] for entry in by_day) for name in _SUMS}
        for entry in (*by_day, total):
            if entry["unpriced_tokens"] and entry["unpriced_tokens"] == entry["total_tokens"]:
                entry["cost"] = None
        budget = self.budget_of(Actor(user=user, role=role))
        return {
            "days": by_day,
            "total": total,
            "budget": {"daily_usd": budget.daily_usd, "daily_tokens": budget.daily_tokens},
        }


def _day() -> str:
    return datetime.now(UTC).date().isoformat()


def _midnight() -> datetime:
    """When the next day begins."""
    return (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
