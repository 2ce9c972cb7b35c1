"""Any life of a store: appends, deletions, checkpoints, refusals, clean stops and kills, against a plain list."""

import asyncio
import logging
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ports.sessions import Record
from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.session import file_of
from bus.errors import Overloaded
from bus.keys import SessionKey
from tests.fakes.disks import RefusingDisk
from tests.fakes.killed import copy_at_rest
from tests.fakes.session_records import NOW, answered, head_of, key_of, said, updated

USERS = ("alice", "bob", "carol")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(USERS), st.integers(1, 3)),
        st.tuples(st.just("append"), st.sampled_from(USERS), st.integers(1, 3)),
        st.tuples(st.just("delete"), st.sampled_from(USERS), st.just(0)),
        st.tuples(st.sampled_from(["checkpoint", "stop", "kill"]), st.just(""), st.just(0)),
        st.tuples(st.sampled_from(["refuse write", "refuse sync_data"]), st.just(""), st.just(0)),
        st.tuples(st.sampled_from(["damage index", "torn journal", "torn file"]), st.sampled_from(USERS), st.just(0)),
    ),
    max_size=16,
)


class Life:
    """The store, and beside it what it ought to hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = RefusingDisk()
        self.store = self._new()
        self.logs: dict[SessionKey, list[Record]] = {}
        self.last: dict[SessionKey, int] = {}

    def _new(self) -> JsonlStore:
        return JsonlStore(self.folder, disk=self.disk, clock=lambda: NOW, checkpoint_sessions=3, cached_sessions=1)

    async def step(self, what: str, user: str, count: int) -> None:
        key = key_of(user)
        match what.split():
            case ["append"]:
                await self._append(key, user, count)
            case ["delete"] if self.logs.get(key):
                self.last[key] += 1
                await self.store.append(key, [updated(self.last[key], deleted=True)])
                self.logs[key] = []
            case ["checkpoint"]:
                await self.store.checkpoint()
            case ["stop"]:
                await self.store.close()
                await self._open()
            case ["refuse", operation]:
                await self._refused(operation)
            case ["kill"] | ["damage", _] | ["torn", _]:
                await self._killed(what, key)

    async def _append(self, key: SessionKey, user: str, count: int) -> None:
        first = self.last.get(key, 0) + 1
        records = [said(first, f"{user} {first}", user=user, idempotency_key=f"{first}")]
        records += [answered(first + n, f"m{first}") for n in range(1, count)]
        await self.store.append(key, records, head=None if self.logs.get(key) else head_of(key, owner=user))
        self.logs.setdefault(key, []).extend(records)
        self.last[key] = records[-1].seq

    async def _refused(self, operation: str) -> None:
        await self._settled()
        self.disk.refuses, self.disk.torn, self.disk.only = {operation}, True, "journal"
        with pytest.raises(Overloaded):
            key = key_of("alice")
            head = None if self.logs.get(key) else head_of(key)
            await self.store.append(key, [said(self.last.get(key, 0) + 1, "refused")], head=head)
        self.disk.refuses = set()

    async def _settled(self) -> None:
        """Until the files hold everything and no checkpoint runs."""
        await self.store.checkpoint()
        while self.store.stats()["unwritten"]:
            await asyncio.sleep(0.001)

    async def _killed(self, what: str, key: SessionKey) -> None:
        """Go on with a copy of the folder, as it is, or with some harm done to it."""
        copy = self.folder.with_name(self.folder.name + "k")
        await copy_at_rest(self.folder, copy)
        await self.store.close()
        self.folder = copy
        if what == "damage index":
            (copy / "index.sqlite").write_bytes(b"?" * 5000)
        target = {"torn journal": copy / "journal.jsonl", "torn file": file_of(copy, key)}.get(what)
        if target is not None and target.exists():
            with target.open("ab") as file:
                file.write(b'{"seq":999,"type":"message","text":"torn')
        await self._open()

    async def _open(self) -> None:
        self.store = self._new()
        await self.store.__aenter__()

    async def check(self) -> None:
        for key, log in self.logs.items():
            user = log[0].data["actor"]["user"] if log else ""
            found = await self.store.read(key, types=frozenset({"message", "chat.done"}))
            assert found == log
            state = await self.store.state(key)
            assert state is not None and state.last_seq == self.last[key] and state.head.deleted == (not log)
            messages, _ = await self.store.history(key, limit=1000)
            assert [m["seq"] for m in messages] == [record.seq for record in log]
            if log:
                assert (await self.store.duplicate(user, str(log[0].seq))) is not None
        listed, _ = await self.store.list_sessions(None, limit=10)
        assert {head.key for head in listed} == {key for key, log in self.logs.items() if log}


async def live(life: list[tuple[str, str, int]]) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        running = Life(top / "s")
        await running.store.__aenter__()
        try:
            for what, user, count in life:
                await running.step(what, user, count)
            await running.check()
            await running.step("stop", "", 0)
            await running.check()
        finally:
            await running.store.close()
    finally:
        shutil.rmtree(top)


@given(steps)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_life(life: list[tuple[str, str, int]]) -> None:
    logging.getLogger("agent.sessions").setLevel(logging.CRITICAL)
    try:
        asyncio.run(live(life))
    finally:
        logging.getLogger("agent.sessions").setLevel(logging.NOTSET)


@pytest.mark.slow
@given(steps)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.timeout(1200)
def test_very_many_lives(life: list[tuple[str, str, int]]) -> None:
    test_any_life.hypothesis.inner_test(life)
