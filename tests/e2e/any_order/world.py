"""The gateway that all this happens to, its stops, kills and refusing disk; and what must be true in the end."""

import asyncio
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import gateway.app
import gateway.composition
from agent.sessions.jsonl_store import JsonlStore
from tests.e2e.any_order.book import Book
from tests.e2e.any_order.ending import Ending
from tests.e2e.any_order.line import Gone, Refused
from tests.e2e.any_order.person import Person
from tests.fakes import instant_effects_server
from tests.fakes.disks import RefusingDisk
from tests.fakes.killed import copy_at_rest
from tests.fakes.openai_server import OpenAIServer
from tests.gateway.edge.harness import Running, running

USERS = ("alice", "bob", "boss")
QUIET_SECONDS = 25


class World:
    """One seed. `scripted`: a model server that misbehaves instead of the demo model."""

    def __init__(self, folder: Path, seed: int, patch: pytest.MonkeyPatch, *, scripted: bool, rough: bool) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.book = Book(rough=rough)
        self.disk = RefusingDisk()
        self.people = [Person(user, self.book, self.chance, scripted=scripted, lines=3) for user in USERS]
        self.scripted = scripted
        self.lives = 0
        self._home = 0
        self._counted = False
        self.effects: Counter[str] = Counter()
        self.gateway: Any = None
        self.model: OpenAIServer | None = None
        compose = gateway.app.compose

        async def remembered(*arguments: Any) -> Any:
            self.gateway = await compose(*arguments)
            return self.gateway

        patch.setattr(gateway.app, "compose", remembered)
        patch.setattr(gateway.composition, "JsonlStore", partial(JsonlStore, disk=self.disk))

    # ------------------------------------------------------------ lives

    async def run(self, lives: int, operations: int) -> None:
        """So many lives of the gateway with so many operations of each person in each."""
        async with OpenAIServer(pace=0.001) as self.model:
            for number in range(lives):
                last = number == lives - 1
                how = "quietly" if last else self.chance.choice(("stop", "stop", "hurry", "kill"))
                await self._live(how, operations)
                if self.book.trouble:
                    break
        assert not self.book.trouble, "\n".join(self.book.trouble[:12])

    @contextlib.asynccontextmanager
    async def _gateway(self) -> AsyncIterator[Running]:
        self.lives += 1
        self._counted = False
        self.effects_file = self.folder / f"effects-{self.lives}.txt"
        configuration: dict[str, Any] = {
            "limits": {"messages_per_minute": 0, "queued_messages_per_session": 8, "turns_per_user": 3,
                       "turn_seconds": 3, "drain_seconds": self.chance.choice((0.0, 0.05, 0.3))},
            "agent": {"mode": self.chance.choice(("single", "single", "auto")), "gather_seconds": 0.05,
                      "max_rounds": 4, "tool_seconds": 5},
            "mcp_servers": [{
                "name": "effects", "command": sys.executable, "tools": {"ask": ["ask"]},
                "args": [instant_effects_server.__file__, str(self.effects_file)],
            }],
        }  # fmt: skip
        if self.scripted:
            assert self.model is not None
            configuration["models"] = [{
                "name": "m", "base_url": self.model.url, "api_key": "k", "model": "scripted",
                "first_token_seconds": 1, "stall_seconds": 1,
            }]  # fmt: skip
        pace = self.chance.choice((0.0, 0.0005, 0.003))
        async with running(self.folder / f"home-{self._home}", pace=pace, **configuration) as served:
            await self.gateway.toolbox.cloud.settled()
            for person in self.people:
                await person.arrive(served.url, served.http)
            yield served
        if not self._counted:
            self.effects += Counter(self._effects())

    def _effects(self) -> list[str]:
        return self.effects_file.read_text().splitlines() if self.effects_file.exists() else []

    async def _live(self, how: str, operations: int) -> None:
        async with self._gateway() as served:
            async with asyncio.TaskGroup() as group:
                weather = group.create_task(self._weather())
                lives = [group.create_task(person.live(operations)) for person in self.people]
                if how != "quietly" and self.chance.random() < 0.5:
                    await asyncio.wait(lives, timeout=self.chance.random() * operations / 60)
                else:
                    await asyncio.wait(lives)
                for task in (weather, *lives):
                    task.cancel()
            self.disk.refuses = set()
            if how == "quietly":
                await self._quiet()
                await Ending(self.people, self.book, self.effects + Counter(self._effects()), served).check()
            elif how == "kill":
                await self._kill()
            elif how == "hurry":
                served.stop.hurry.set()
            if how in ("stop", "hurry"):
                served.stop.asked.set()
                await asyncio.sleep(self.chance.random() * 0.1)
            for person in self.people:
                await person.leave()
            if how == "quietly":
                await self._empty()

    async def _kill(self) -> None:
        """What comes from now on was told to nobody; the next gateway finds the folder as it is at one moment."""
        self.book.crashed = True
        for person in self.people:
            person.deafen()
        copy = self.folder / f"home-{self._home + 1}"
        async with asyncio.timeout(60):
            await copy_at_rest(self.folder / f"home-{self._home}", copy)
        self.effects += Counter(self._effects())
        self._counted = True
        (copy / "gateway.pid").unlink(missing_ok=True)
        self._home += 1

    async def _weather(self) -> None:
        """The disk refuses now and then."""
        while self.book.rough:
            await asyncio.sleep(self.chance.random() * 0.4)
            self.disk.torn = self.chance.random() < 0.5
            self.disk.refuses = {self.chance.choice(("write", "sync_data"))}
            await asyncio.sleep(self.chance.choice((0.002, 0.01, 0.05, 0.3)))
            self.disk.refuses = set()

    # ------------------------------------------------------------ quiet

    async def _quiet(self) -> None:
        """Everything that was begun ends within a bounded time; nobody is asked any more."""
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                while True:
                    for person in self.people:
                        await self._deny(person)
                    busy = self.gateway.loop.stats()
                    waiting = any(person.later for person in self.people)
                    if not (busy["running"] or busy["queued"] or busy["lanes"] or waiting):
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            deeds = [task.get_coro().__qualname__ + str(task.get_stack()[-1:]) for p in self.people for task in p.later]
            lanes = [_lane(lane) for lane in self.gateway.loop._lanes.working()]
            self.book.broken(f"it does not end: {self.gateway.loop.stats()} {deeds} {lanes}")
        await asyncio.sleep(0.1)  # what was told last is read

    async def _deny(self, person: Person) -> None:
        for line in person.lines:
            if not line.dead and line.socket is not None:
                with contextlib.suppress(Gone):  # hung up meanwhile: by another
                    for one in (await line.call("approval.list"))["approvals"]:
                        with contextlib.suppress(Refused):
                            await line.call("approval.resolve", approval_id=one["approval_id"], decision="deny")
                    return

    async def _empty(self) -> None:
        """Nobody is there and nothing runs: nothing may be left of them."""
        await asyncio.sleep(0.1)
        house, broken = self.gateway, self.book.broken
        hub, stats = house.hub, house.hub.stats()
        left = {
            "readers": stats["readers"], "waiting": stats["waiting"], "keys": len(hub._keys), "users": len(hub._users),
            "sockets": len(house.sockets), "lanes": house.loop.stats()["lanes"], "running": house.loop._running,
            "slots": house.loop._runner.slots._running, "tickets": house.loop._runner.slots._waiting,
            "accepting": house.loop._accepting, "opening": house.loop._lanes._opening, "bus": house.bus.waiting,
            "questions": [o for o in house.toolbox.desk._open.values() if o.answer is not None and not o.answer.done()],
            "turns": [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("turn ")],
        }  # fmt: skip
        if any(left.values()):
            broken(f"left over: { {name: value for name, value in left.items() if value} }")


def _lane(lane: Any) -> str:
    return (
        f"{lane.key.text} current={lane.current} queue={len(lane.queue)} held={len(lane._held)} users={lane.users} "
        f"task={lane.task} reason={lane.abort_reason} ending={lane.ending} spoiled={lane.spoiled}"
    )


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))
