"""Pull the plug at every moment: what was acknowledged is there, what was refused is not, batches are whole."""

import asyncio
import itertools
import logging
import random
from pathlib import Path

import orjson
import pytest

from agent.ports.sessions import Record
from agent.sessions.jsonl_store import JsonlStore
from bus.errors import GatewayError
from bus.keys import SessionKey
from tests.fakes.disks import ForgetfulDisk
from tests.fakes.session_records import NOW, answered, head_of, key_of, said, updated

USERS = ("alice", "bob", "carol", "dave")


class Load:
    """Some users who write at once, and note what they were told."""

    def __init__(self, store: JsonlStore, disk: ForgetfulDisk, chance: random.Random) -> None:
        self._store = store
        self._disk = disk
        self._chance = chance
        self.told: dict[SessionKey, list[list[Record]]] = {}
        self.tried: dict[SessionKey, list[list[Record]]] = {}
        self.unproven: list[Record] = []

    async def run(self) -> None:
        await asyncio.gather(*[self._user(user) for user in USERS])

    async def _user(self, user: str) -> None:
        key = key_of(user)
        numbers = itertools.count(1)
        for turn in range(6):
            batch = [said(next(numbers), f"{user} {turn} " + "x" * self._chance.randrange(300), user=user,
                          idempotency_key=f"{turn}")]  # fmt: skip
            if self._chance.random() < 0.5:
                batch.append(answered(next(numbers), batch[0].data["message_id"]))
            self.tried.setdefault(key, []).append(batch)
            try:
                await self._store.append(key, batch, head=head_of(key, owner=user) if turn == 0 else None)
            except GatewayError:
                return
            self.told.setdefault(key, []).append(batch)
            if not all(self._disk.durable(orjson.dumps(record.data["text"])) for record in batch):
                self.unproven += batch


async def live(folder: Path, disk: ForgetfulDisk, chance: random.Random, **more: int) -> Load:
    store = JsonlStore(folder, disk=disk, clock=lambda: NOW, **more)
    async with store:
        load = Load(store, disk, chance)
        await load.run()
    return load


async def check(after: Path, load: Load) -> None:
    """A restart on what remains."""
    async with JsonlStore(after, clock=lambda: NOW) as store:
        listed = {head.key for head in (await store.list_sessions(None, limit=99))[0]}
        for key, batches in load.tried.items():
            found = await store.read(key)
            told = load.told.get(key, [])
            whole = [record for batch in batches for record in batch]
            assert found == whole[: len(found)], "in order, each once, nothing strange"
            assert len(found) >= sum(map(len, told)), "acknowledged is never lost"
            ends = set(itertools.accumulate(map(len, batches), initial=0))
            assert len(found) in ends, "a batch is whole or not there"
            assert (key in listed) == bool(found)
            for batch in told:
                assert await store.duplicate(batch[0].data["actor"]["user"], batch[0].data["idempotency_key"])
            if found:
                state = await store.state(key)
                assert state is not None and state.last_seq == found[-1].seq
                await store.append(key, [said(found[-1].seq + 1, "and on")])


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="agent.sessions")


async def cut_at(tmp_path: Path, number: int, seed: int, **more: int) -> bool:
    """One life that ends at operation `number`; False where it came to its own end before."""
    chance = random.Random(seed)
    folder, after = tmp_path / f"life{number}-{seed}", tmp_path / f"after{number}-{seed}"
    disk = ForgetfulDisk(number)
    try:
        load = await live(folder, disk, chance, **more)
    except OSError:
        return True  # it went dark while it opened: nobody was told anything
    assert not load.unproven, "an acknowledgement without a sync"
    if not disk.dark:
        assert disk.operations < number
    disk.remains(folder, after, chance)
    await check(after, load)
    async with JsonlStore(after, clock=lambda: NOW) as store:  # and once more, after the clean stop
        for key, batches in load.told.items():
            assert len(await store.read(key)) > sum(map(len, batches))
    return disk.dark


async def test_every_acknowledgement_follows_a_completed_sync(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    load = await live(tmp_path / "s", disk, random.Random(1), checkpoint_sessions=2)
    assert sum(map(len, load.told.values())) == len(USERS) * 6 and not load.unproven


async def test_the_plug_is_pulled_at_every_operation(tmp_path: Path) -> None:
    """Small checkpoints, so that the cut falls into every step of them too."""
    number = 1
    while await cut_at(tmp_path, number, seed=number, checkpoint_sessions=2):
        number += 1 if number < 60 else 7
    assert number > 45


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
async def test_the_plug_is_pulled_at_every_operation_many_times(tmp_path: Path, seed: int) -> None:
    number = 1
    while await cut_at(tmp_path, number, seed=1000 * seed + number, checkpoint_sessions=1 + seed % 4):
        number += 1


async def test_a_deleted_session_stays_deleted_wherever_the_plug_is_pulled(tmp_path: Path) -> None:
    for number in itertools.count(1, 2):
        folder, after = tmp_path / f"life{number}", tmp_path / f"after{number}"
        disk, key, steps = ForgetfulDisk(number), key_of(), []
        try:
            async with JsonlStore(folder, disk=disk) as store:
                for step in ([said(1, "old")], [updated(2, deleted=True)], [said(3, "new")]):
                    steps.append("tried")
                    await store.append(key, step, head=head_of(key))
                    steps[-1] = "told"
        except (OSError, GatewayError):
            pass
        if not steps:
            continue
        disk.remains(folder, after, random.Random(number))
        async with JsonlStore(after, clock=lambda: NOW) as store:
            told = steps.count("told")
            texts = [record.data["text"] for record in await store.read(key, types=frozenset({"message"}))]
            state = await store.state(key)
            assert texts in ([["old"], [], ["new"]][max(0, told - 1) : len(steps)] if told else [[], ["old"]])
            if told == 2:
                assert state is not None and state.last_seq >= 2
        if not disk.dark:
            return
