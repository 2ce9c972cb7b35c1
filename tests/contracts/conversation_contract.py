"""What a person may expect of a conversation, through whichever of the five channels: the whole gateway, as a process.

`channel_contract.py` looks at each adapter closely, with an agent that does as it is
told. This suite is the same for all five, the terminal and the web socket included,
with the real loop and a model behind it, and a kill in the middle.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

from tests.e2e.gateway_process import GatewayProcess
from tests.fakes.openai_server import OpenAIServer


class Conversation(ABC):
    """A person and the assistant on one channel."""

    name: ClassVar[str]

    gateway: GatewayProcess

    async def open(self) -> None:  # noqa: B027 - not every channel needs it
        """Before the gateway starts."""

    async def close(self) -> None:  # noqa: B027 - not every channel needs it
        """After it ended."""

    def section(self) -> dict[str, Any]:
        """`channels.<name>` of the configuration."""
        return {}

    async def begin(self) -> None:
        """When the gateway has started, or started again: a platform is waited for."""
        token = (self.gateway.home / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with asyncio.timeout(20), aiohttp.ClientSession(headers=headers) as session:
            while self.section():
                async with session.get(f"{self.gateway.url}/status") as answer:
                    if (await answer.json())["channels"][self.name]["state"] == "ready":
                        return
                await asyncio.sleep(0.05)

    @abstractmethod
    async def says(self, text: str) -> None: ...

    async def says_again(self) -> None:  # noqa: B027 - not every channel needs it
        """The same message once more, as networks do."""

    @abstractmethod
    async def answers(self) -> list[str]:
        """What the person sees of the assistant now, in order."""


class ConversationContract:
    """The suite. A subclass gives its `Conversation`."""

    def make(self) -> Conversation:
        raise NotImplementedError

    @pytest.fixture
    async def model(self) -> AsyncIterator[OpenAIServer]:
        async with OpenAIServer() as server:
            yield server

    @pytest.fixture
    async def chat(self, model: OpenAIServer, tmp_path: Path) -> AsyncIterator[Conversation]:
        chat = self.make()
        await chat.open()
        chat.gateway = GatewayProcess(
            tmp_path / "home",
            {
                "server": {"port": free_port()},
                "models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "m"}],
                "agent": {"mode": "single"},
                "channels": {chat.name: chat.section()} if chat.section() else {},
            },
        )
        await chat.gateway.start()
        await chat.begin()
        yield chat
        await chat.gateway.kill()
        await chat.close()

    async def reads(self, chat: Conversation, *answers: str, seconds: float = 25) -> None:
        """In the end the person sees exactly these."""
        end = asyncio.get_running_loop().time() + seconds
        while (seen := [" ".join(a.split()) for a in await chat.answers()]) != list(answers):
            assert asyncio.get_running_loop().time() < end, seen
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.4)
        assert [" ".join(a.split()) for a in await chat.answers()] == list(answers)

    async def test_questions_are_answered_once_each_and_in_order(self, chat: Conversation) -> None:
        await chat.says("!say one")
        await self.reads(chat, "one")
        await chat.says_again()
        await chat.says("!slow 20 40")
        await self.reads(chat, "one", SLOW_40)
        await chat.says("!say three")
        await self.reads(chat, "one", SLOW_40, "three")

    async def test_a_kill_in_the_middle_leaves_one_whole_answer(self, chat: Conversation, model: OpenAIServer) -> None:
        await chat.says("!slow 50 40")
        while not model.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.2)
        await chat.gateway.kill()
        await chat.gateway.start()
        await chat.begin()
        await self.reads(chat, SLOW_40)


def free_port() -> int:
    """A port that stays the same over a restart."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


SLOW_40 = " ".join(f"word{number}" for number in range(40))
