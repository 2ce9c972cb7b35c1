"""The agent over a disk that refuses: an error to the sender, and after that as if nothing had been."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bus.errors import Overloaded
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.disks import RefusingDisk
from tests.fakes.models import EchoModel


@pytest.mark.attack(71)
@pytest.mark.parametrize("first", [True, False])
async def test_a_full_disk_is_1007_and_the_next_message_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    disk = RefusingDisk()
    monkeypatch.setattr("agent.sessions.log.Disk", lambda: disk)
    async with running(Agent(tmp_path / "sessions", EchoModel())) as agent:
        if not first:
            assert (await agent.ask("hello")).type == "chat.done"
        disk.refuses = {"write"}
        for _ in range(3):
            with pytest.raises(Overloaded):
                await agent.send("lost")
        disk.refuses = set()
        assert (await until_taken(agent, "kept")).text == "you said: kept"
        assert (await agent.ask("and this")).type == "chat.done"
        messages, _ = await agent.store.history(default_key("alice"))
        assert [m["text"] for m in messages if m["role"] == "user"] == ["hello"] * (not first) + ["kept", "and this"]


async def until_taken(agent: Agent, text: str) -> Any:
    """As a client does with an error that may be retried: what stood behind a refused record is refused with it."""
    for _ in range(20):
        try:
            return await agent.ask(text)
        except Overloaded:
            await asyncio.sleep(0.01)
    raise AssertionError("never taken")
