"""What a scheduled turn came to is told once, also where the house went down before it was."""

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.tools.builtin.schedule_book import Scheduler
from bus.context import new_id
from bus.events import Actor, InboundMessage
from bus.keys import SessionKey, default_key
from gateway.schedules import Schedules
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel

LANE, PLACE = SessionKey("schedule:t_1", "alice"), default_key("alice")


def scheduled(text: str) -> InboundMessage:
    actor = Actor(user="alice", scopes=frozenset({"chat", "tools"}), channel="schedule")
    return InboundMessage(session=LANE, actor=actor, text=text, message_id=new_id("msg"), received_at=time.time())


@asynccontextmanager
async def schedules(agent: Agent, folder: Path) -> Any:
    service = Schedules(
        Scheduler(folder), agent.store, agent.store, submit=agent.bus.submit, configure=agent.loop.configure,
        tell=agent.loop.tell, actor_of=lambda user: Actor(user=user),
    )  # fmt: skip
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def told(agent: Agent) -> list[str]:
    return [m["text"] for m in (await agent.store.history(PLACE, limit=50, before_seq=None))[0]]


async def test_an_answer_that_a_crash_left_untold_is_told_at_the_next_start_and_once(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        message = scheduled("drink tea")
        await agent.loop.configure(message, {"tell": PLACE.identity, "asked": "tea"})
        assert (await agent.end(await agent.bus.submit(message))).text == "you said: drink tea"
    for _ in range(3):
        async with running(Agent(tmp_path, EchoModel())) as agent, schedules(agent, tmp_path / "book") as service:
            for _ in range(50):
                await asyncio.sleep(0.01)
                if len(await told(agent)) >= 2:
                    break
            await asyncio.sleep(0.05)
            assert await told(agent) == ["⏰ tea", "you said: drink tea"]
            for event in agent.events:
                service.observe(event)


async def test_what_is_told_twice_at_once_is_there_once(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        twins = [
            InboundMessage(session=PLACE, actor=Actor(user="alice"), text="⏰ tea", message_id=new_id("msg"),
                           received_at=time.time(), idempotency_key="told:1")
            for _ in range(5)
        ]  # fmt: skip
        accepted = await asyncio.gather(*(agent.loop.tell(twin, "done") for twin in twins))
        assert sorted(one.repeated for one in accepted) == [False, True, True, True, True]
        assert await told(agent) == ["⏰ tea", "done"]
