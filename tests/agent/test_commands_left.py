"""A slash command whose sender leaves is done to its end, once, and is in the log."""

import asyncio
from pathlib import Path
from typing import Any

from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel


class Slow:
    """A command that takes its time after it has had its effect."""

    def __init__(self) -> None:
        self.done = 0
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *_: Any) -> str:
        self.done += 1
        self.begun.set()
        await self.go_on.wait()
        return f"done {self.done}"


async def test_a_command_whose_client_left_is_not_done_again_by_the_repeat(tmp_path: Path) -> None:
    slow = Slow()
    async with running(Agent(tmp_path, EchoModel())) as agent:
        agent.loop._run_command = slow
        first = asyncio.create_task(agent.send("/status", idempotency_key="k"))
        await slow.begun.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        again = asyncio.create_task(agent.send("/status", idempotency_key="k"))
        await asyncio.sleep(0.02)
        slow.go_on.set()
        accepted = await again
        assert accepted.repeated
        assert slow.done == 1
        messages, _ = await agent.store.history(default_key("alice"), limit=10, before_seq=None)
        assert [m["text"] for m in messages] == ["/status", "done 1"]


async def test_a_stop_waits_for_a_command_and_cuts_one_that_takes_for_ever(tmp_path: Path) -> None:
    slow = Slow()
    async with running(Agent(tmp_path, EchoModel())) as agent:
        agent.loop._run_command = slow
        sent = asyncio.create_task(agent.send("/status"))
        await slow.begun.wait()
        draining = asyncio.create_task(agent.loop.drain(5))
        await asyncio.sleep(0.02)
        slow.go_on.set()
        await draining
        assert not (await sent).repeated
    async with running(Agent(tmp_path, EchoModel(), limits={"drain_seconds": 0.1})) as agent:
        agent.loop._run_command = hung = Slow()
        sent = asyncio.create_task(agent.send("/status"))
        await hung.begun.wait()
    assert isinstance((await asyncio.gather(sent, return_exceptions=True))[0], asyncio.CancelledError)
