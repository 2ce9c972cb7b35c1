"""Drops at every message of a call, duplicates, restarts of both sides: real side effects are counted.

Each call is done exactly once and answered, or ends in 2006 and was done at most once.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.ports.tools import ToolResult
from bus.errors import GatewayError, OutcomeUnknown
from tests.fakes.fault_proxy import TO_GATEWAY, Action, FaultProxy
from tests.fakes.tunnel_rig import BridgeRig, Caller, GatewayRig, tool_call, until


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[GatewayRig, BridgeRig, FaultProxy]]:
    (folder / "home").mkdir()
    gateway = GatewayRig(folder / "home")
    await gateway.start()
    proxy = FaultProxy(gateway.port)
    await proxy.start()
    bridge = BridgeRig(folder / "bridge", f"ws://127.0.0.1:{proxy.port}/tunnel", gateway.token())
    await bridge.start()
    try:
        await bridge.connected()
        await gateway.has_tools()
        yield gateway, bridge, proxy
    finally:
        await bridge.stop()
        await proxy.stop()
        await gateway.stop()


async def call(gateway: GatewayRig, key: str, **more: object) -> ToolResult | GatewayError:
    arguments = {"key": key, **more}
    try:
        return await Caller(gateway).call(tool_call("fs_add", arguments, key=f"key-{key}"), 8.0)
    except GatewayError as error:
        return error


def check(outcome: ToolResult | GatewayError, done: int) -> None:
    """Exactly once, or 2006 and at most once."""
    if isinstance(outcome, ToolResult):
        assert done == 1 and not outcome.is_error
    else:
        assert isinstance(outcome, OutcomeUnknown) and done <= 1, outcome


@pytest.mark.parametrize("action", [Action.CUT_BEFORE, Action.CUT_AFTER])
async def test_a_cut_at_every_message_of_a_call(tmp_path: Path, action: Action) -> None:
    """Request, answer and acknowledgement, before and after: three messages each way at most."""
    async with world(tmp_path) as (gateway, bridge, proxy):
        for nth in range(1, 5):
            await asyncio.sleep(0.1)  # a cut after the acknowledgement comes when the call is over
            await until(lambda: any(b.connected for b in gateway.directory.bridges_of("alice")))
            start = proxy.messages

            def decide(direction: str, number: int, at: int = start + nth) -> Action:
                return action if number == at else Action.PASS

            proxy.decide = decide
            outcome = await call(gateway, f"{action.value}-{nth}")
            proxy.decide = lambda direction, number: Action.PASS
            done = bridge.servers.count().get(f"{action.value}-{nth}", 0)
            # No side was restarted: the call must have been done, once.
            assert isinstance(outcome, ToolResult) and done == 1, (nth, outcome, done)


@pytest.mark.attack(79)
async def test_every_message_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, bridge, proxy):
        proxy.decide = lambda direction, number: Action.TWICE
        outcomes = await asyncio.gather(*(call(gateway, f"t{number}") for number in range(20)))
        assert all(isinstance(outcome, ToolResult) for outcome in outcomes)
        assert bridge.servers.count() == {f"t{number}": 1 for number in range(20)}
        proxy.decide = lambda direction, number: Action.PASS
        await until(lambda: not bridge.outbox.answers and not bridge.outbox.running)


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_drops(tmp_path: Path, seed: int) -> None:
    """A connection that breaks after some ten messages each time."""
    await random_drops(tmp_path, seed, calls=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_random_drops_for_long(tmp_path: Path, seed: int) -> None:
    await random_drops(tmp_path, 100 + seed, calls=500)


async def random_drops(folder: Path, seed: int, calls: int) -> None:
    chance = random.Random(seed)
    async with world(folder) as (gateway, bridge, proxy):

        def decide(direction: str, number: int) -> Action:
            roll = chance.random()
            if roll < 0.06:
                return chance.choice([Action.CUT_BEFORE, Action.CUT_AFTER])
            return Action.TWICE if roll < 0.12 else Action.PASS

        proxy.decide = decide
        queue = list(range(calls))

        async def worker() -> None:
            while queue:
                number = queue.pop()
                outcome = await patient(gateway, f"r{number}")
                check(outcome, bridge.servers.count().get(f"r{number}", 0))
                assert isinstance(outcome, ToolResult), outcome

        await asyncio.gather(*(worker() for _ in range(8)))
        assert bridge.servers.count() == {f"r{number}": 1 for number in range(calls)}
        assert proxy.connections > 3


async def patient(gateway: GatewayRig, key: str) -> ToolResult | GatewayError:
    """As the loop and a person would: a call that surely had no effect (2003 at once) is tried again."""
    while True:
        outcome = await call(gateway, key)
        if isinstance(outcome, GatewayError) and outcome.effect == "none":
            await asyncio.sleep(0.02)
            continue
        return outcome


@pytest.mark.attack(80)
@pytest.mark.parametrize("restarts", [["bridge"], ["gateway"], ["bridge", "gateway", "bridge"]])
async def test_restarts_under_load(tmp_path: Path, restarts: list[str]) -> None:
    """Bridge and gateway are restarted while calls with side effects run."""
    async with world(tmp_path) as (gateway, bridge, _proxy):
        outcomes: dict[str, ToolResult | GatewayError] = {}

        async def one(key: str) -> None:
            repeated = False
            while True:
                wanted = tool_call("fs_add", {"key": key, "seconds": length(key)}, key=f"key-{key}", repeated=repeated)
                try:
                    outcomes[key] = await Caller(gateway).call(wanted, 8.0)
                    return
                except asyncio.CancelledError:
                    raise
                except GatewayError as error:
                    outcomes[key] = error
                    if error.effect != "none":
                        return
                    await asyncio.sleep(0.02)

        for round_, who in enumerate(restarts):
            tasks = [asyncio.create_task(one(f"{round_}-{number}")) for number in range(12)]
            await asyncio.sleep(0.03)
            if who == "bridge":
                await bridge.restart()
                await asyncio.wait(tasks)
            else:
                # The gateway's process dies with its turns; after the restart each turn goes on under the same key.
                gateway.tools.closing()
                for task in tasks:
                    task.cancel()
                await gateway.stop()
                await asyncio.wait(tasks)
                await gateway.start()
                tasks = [asyncio.create_task(again(gateway, outcomes, f"{round_}-{number}")) for number in range(12)]
                await asyncio.wait(tasks)
            for task in tasks:
                await task
        counts = bridge.servers.count()
        assert len(outcomes) == 12 * len(restarts)
        for key, outcome in outcomes.items():
            check(outcome, counts.get(key, 0))
        assert sum(isinstance(outcome, ToolResult) for outcome in outcomes.values()) > 0


def length(key: str) -> float:
    """Some calls are over before the restart, some are in the middle."""
    return int(key.split("-")[1]) % 4 * 0.03


async def again(gateway: GatewayRig, outcomes: dict[str, ToolResult | GatewayError], key: str) -> None:
    wanted = tool_call("fs_add", {"key": key, "seconds": length(key)}, key=f"key-{key}", repeated=True)
    try:
        outcomes[key] = await Caller(gateway).call(wanted, 8.0)
    except GatewayError as error:
        outcomes[key] = error


async def test_a_call_of_the_last_gateway_process_is_claimed_by_its_turn(tmp_path: Path) -> None:
    """The server finishes while no gateway is there; the turn that goes on gets that very answer."""
    async with world(tmp_path) as (gateway, bridge, _proxy):
        first = asyncio.create_task(
            Caller(gateway).call(tool_call("fs_slow", {}, key="same"), 8.0)
        )  # fmt: skip
        await asyncio.wait_for(bridge.servers.begun.wait(), 5)
        gateway.tools.closing()
        first.cancel()
        await gateway.stop()
        await asyncio.wait({first})
        bridge.servers.release.set()
        await until(lambda: bool(bridge.outbox.answers))
        await gateway.start()
        result = await Caller(gateway).call(tool_call("fs_slow", {}, key="same", repeated=True), 8.0)
        assert result.content[0]["text"] == "released"
        assert bridge.servers.cancelled == 0


async def test_a_large_answer_is_cut_in_the_middle(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, proxy):
        seen = 0

        def decide(direction: str, number: int) -> Action:
            nonlocal seen
            seen += direction == TO_GATEWAY
            return Action.CUT_AFTER if direction == TO_GATEWAY and seen == 9 else Action.PASS

        proxy.decide = decide
        result = await Caller(gateway).call(tool_call("fs_big", {"chars": 2_000_000}), 8.0)
        assert len(result.content[0]["text"]) == 2_000_000
        assert proxy.connections == 2


async def test_a_drop_while_a_person_is_asked(tmp_path: Path) -> None:
    """The yes is given while the link is down, and still arrives."""
    async with world(tmp_path) as (gateway, _bridge, proxy):
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("fs_delete_all", {}), 5.0))
        await asyncio.wait_for(caller.asked.wait(), 5)
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not any(b.connected for b in gateway.directory.bridges_of("alice")))
        await gateway.desk.resolve(caller.approval.approval_id, "allow_once", tool_call("x", {}).actor)
        await asyncio.sleep(0.05)
        proxy.refusing = False
        result = await task
        assert not result.is_error
        assert sum(type(update).__name__ == "ApprovalAsked" for update in caller.updates) == 1
