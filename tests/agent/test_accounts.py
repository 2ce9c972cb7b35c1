"""Sums that survive, agree and stop."""

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.accounts import KEPT_DAYS, Accounts
from agent.ports.people import Charge
from agent.settings import Budget, BudgetSettings
from bus.errors import RateLimited
from bus.events import Actor, ChatDone, Usage
from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import ScriptedModel
from tests.gateway.edge.harness import running as gateway_running

ALICE, BOB = Actor(user="alice"), Actor(user="bob", role="service")


def charge(actor: Actor, number: int, tokens: int, cost: float | None = None) -> Charge:
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1, total_tokens=tokens, cost=cost)
    return Charge(actor=actor, message_id=f"m{number}", attempt=1, model="main", usage=usage, tool_calls=2)


async def test_sums_survive_and_a_charge_counts_once(tmp_path: Path) -> None:
    file = tmp_path / "usage.sqlite"
    async with Accounts(file, BudgetSettings()) as accounts:
        await accounts.charge([charge(ALICE, 1, 10, 0.5), charge(ALICE, 2, 5)])
        await accounts.charge([charge(ALICE, 1, 10, 0.5)])
        await accounts.charge([charge(BOB, 3, 99)])
    async with Accounts(file, BudgetSettings()) as accounts:
        total = (await accounts.usage("alice", 7))["total"]
        assert (total["turns"], total["total_tokens"], total["cost"], total["tool_calls"]) == (2, 15, 0.5, 4)
        assert len((await accounts.usage("alice", 7))["days"]) == 1
        assert (await accounts.usage("nobody", 7))["days"] == []
    assert file.stat().st_mode & 0o777 == 0o600


async def test_what_is_older_than_is_kept_leaves_while_the_house_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.SWEEP_SECONDS", 0.05)
    async with gateway_running(tmp_path):
        with contextlib.closing(sqlite3.connect(tmp_path / "accounts.db", isolation_level=None)) as file:
            for number, days in enumerate((KEPT_DAYS + 2, KEPT_DAYS - 2)):
                day = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d")
                file.execute(
                    "INSERT INTO charges VALUES (?, 1, 'main', 'alice', ?, 1, 1, 0, 2, 0, 0, 0, 0)", (f"m{number}", day)
                )
            monkeypatch.setattr("agent.accounts._day", lambda: "a day later")
            async with asyncio.timeout(5):
                while file.execute("SELECT COUNT(*) FROM charges").fetchone() != (1,):
                    await asyncio.sleep(0.02)
            assert file.execute("SELECT message_id FROM charges").fetchall() == [("m1",)]


async def test_a_warning_once_then_a_stop_with_its_time(tmp_path: Path) -> None:
    budgets = BudgetSettings(daily_tokens=100, roles={"service": Budget(daily_usd=1.0)})
    async with Accounts(tmp_path / "u", budgets) as accounts:
        assert await accounts.check(ALICE) == ""
        await accounts.charge([charge(ALICE, 1, 85)])
        assert "85%" in await accounts.check(ALICE)
        assert await accounts.check(ALICE) == ""
        await accounts.charge([charge(ALICE, 2, 20)])
        with pytest.raises(RateLimited) as stopped:
            await accounts.check(ALICE)
        assert 0 < (stopped.value.retry_after_ms or 0) <= 86_400_000
        await accounts.charge([charge(BOB, 3, 1000, 0.2)])
        assert await accounts.check(BOB) == ""
        await accounts.charge([charge(BOB, 4, 1, 0.9)])
        with pytest.raises(RateLimited):
            await accounts.check(BOB)


async def test_a_turn_is_charged_as_the_provider_counted(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("look", lambda call: "seen", read_only=True)
    model = ScriptedModel(("", [("c1", "look", "{}")]), "done")
    async with Accounts(tmp_path / "u", BudgetSettings(daily_tokens=4)) as accounts:
        agent = Agent(tmp_path / "s", model, tools)
        agent.accountant = accounts
        async with running(agent):
            done = await agent.ask("go")
            assert isinstance(done, ChatDone) and done.usage.total_tokens == 4
            total = (await accounts.usage("alice", 1))["total"]
            assert (total["turns"], total["total_tokens"], total["tool_calls"]) == (1, 4, 1)
            refused = await agent.ask("more")
            assert (refused.code, refused.retryable) == (1005, True) and refused.retry_after_ms
            assert len(model.requests) == 2


async def test_money_that_is_not_known_is_said_and_not_nothing(tmp_path: Path) -> None:
    async with Accounts(tmp_path / "u", BudgetSettings()) as accounts:
        assert (await accounts.usage("alice", 7))["total"]["cost"] == 0
        await accounts.charge([charge(ALICE, 1, 10)])
        found = await accounts.usage("alice", 7)
        for sums in (found["total"], found["days"][0]):
            assert (sums["total_tokens"], sums["unpriced_tokens"], sums["cost"]) == (10, 10, None)
        await accounts.charge([charge(ALICE, 2, 5, 0.25)])
        found = await accounts.usage("alice", 7)
        for sums in (found["total"], found["days"][0]):
            assert (sums["total_tokens"], sums["unpriced_tokens"], sums["cost"]) == (15, 10, 0.25)


async def test_accounts_of_an_earlier_version_go_on(tmp_path: Path) -> None:
    file = tmp_path / "u"
    with contextlib.closing(sqlite3.connect(file)) as old:
        old.execute(
            "CREATE TABLE charges (message_id TEXT NOT NULL, attempt INTEGER NOT NULL, model TEXT NOT NULL,"
            " user TEXT NOT NULL, day TEXT NOT NULL, prompt INTEGER NOT NULL, completion INTEGER NOT NULL,"
            " cached INTEGER NOT NULL, total INTEGER NOT NULL, cost REAL NOT NULL, priced INTEGER NOT NULL,"
            " tool_calls INTEGER NOT NULL, PRIMARY KEY (message_id, attempt, model)) WITHOUT ROWID"
        )
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        old.execute("INSERT INTO charges VALUES ('m0', 1, 'main', 'alice', ?, 1, 1, 0, 2, 0.5, 1, 0)", (today,))
        old.commit()
    for _ in range(2):
        async with Accounts(file, BudgetSettings()) as accounts:
            await accounts.charge([charge(ALICE, 1, 10, 0.5)])
            total = (await accounts.usage("alice", 2))["total"]
            assert (total["total_tokens"], total["cost"], total["estimated_tokens"]) == (12, 1.0, 0)


async def test_the_budget_shown_is_the_one_that_holds(tmp_path: Path) -> None:
    budgets = BudgetSettings(daily_usd=5, roles={"service": Budget(daily_usd=1.0)}, users={"carl": Budget(daily_usd=2)})
    async with Accounts(tmp_path / "u", budgets) as accounts:
        shown = [(await accounts.usage(user, 1, role))["budget"]["daily_usd"] for user, role in
                 (("alice", "user"), ("bob", "service"), ("carl", "service"))]  # fmt: skip
    assert shown == [5, 1, 2]


async def test_a_commit_that_was_refused_spoils_no_later_one(tmp_path: Path) -> None:
    """As a full disk does it; here by what SQLite itself puts off until the end of a transaction."""
    file = tmp_path / "usage.sqlite"
    async with Accounts(file, BudgetSettings()) as accounts:
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.executescript(
                "CREATE TABLE owner (id INTEGER PRIMARY KEY);"
                "CREATE TABLE owned (id INTEGER REFERENCES owner (id) DEFERRABLE INITIALLY DEFERRED);"
                "CREATE TRIGGER refuse AFTER INSERT ON charges BEGIN INSERT INTO owned VALUES (7); END;"
            )
        await accounts._do(lambda: accounts._database.execute("PRAGMA foreign_keys = ON"))
        with pytest.raises(sqlite3.IntegrityError):
            await accounts.charge([charge(ALICE, 1, 10)])
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.execute("DROP TRIGGER refuse")
        await accounts.charge([charge(ALICE, 2, 5)])
        assert (await accounts.usage("alice", 7))["total"]["total_tokens"] == 5
