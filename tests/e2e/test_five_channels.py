"""One suite over all five channels, through the whole gateway: Telegram, Discord, Feishu, web socket, terminal."""

import asyncio
from typing import Any

from tests.contracts.conversation_contract import Conversation, ConversationContract
from tests.e2e.gateway_process import Client
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.feishu_server import FakeFeishu
from tests.fakes.telegram_server import FakeTelegram


class OnTelegram(Conversation):
    name = "telegram"

    async def open(self) -> None:
        self.fake = FakeTelegram()
        await self.fake.start()

    async def close(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {"enabled": True, "token": self.fake.token, "base_url": self.fake.url, "allow_from": ["42"]}

    async def says(self, text: str) -> None:
        self.fake.world.person_says(42, text)

    async def says_again(self) -> None:
        newest = max(self.fake.world.history)
        self.fake.world.put_again(newest, self.fake.world.history[newest])

    async def answers(self) -> list[str]:
        return self.fake.world.visible(42)


class OnDiscord(Conversation):
    name = "discord"

    async def open(self) -> None:
        self.fake = FakeDiscord()
        await self.fake.start()
        self.newest: dict[str, Any] = {}

    async def close(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {"enabled": True, "token": self.fake.token, "api_url": self.fake.api_url, "allow_from": ["42"]}

    async def says(self, text: str) -> None:
        said = await self.fake.says("42", text)
        self.newest = self.fake.world.find(self.fake.world.private_channel("42")["id"], said) or {}

    async def says_again(self) -> None:
        await self.fake.gateway.dispatch("MESSAGE_CREATE", self.newest)

    async def answers(self) -> list[str]:
        return self.fake.visible("42")


class OnFeishu(Conversation):
    name = "feishu"

    async def open(self) -> None:
        self.fake = FakeFeishu()
        await self.fake.start()

    async def close(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {
            "enabled": True, "app_id": self.fake.app_id, "app_secret": "feishu-secret", "domain": self.fake.domain,
            "allow_from": ["ou_1"],
        }  # fmt: skip

    async def says(self, text: str) -> None:
        await self.fake.says("ou_1", text, times=2)

    async def answers(self) -> list[str]:
        return self.fake.visible("ou_1")


class OnTheWeb(Conversation):
    name = "websocket"

    async def open(self) -> None:
        self.number = 0
        self.client: Client | None = None
        self.said = ""

    async def begin(self) -> None:
        await self.close()
        self.client = await Client(self.gateway.ws).__aenter__()

    async def close(self) -> None:
        if self.client is not None:
            await self.client.__aexit__()
            self.client = None

    async def says(self, text: str) -> None:
        self.number, self.said = self.number + 1, text
        await self.says_again()

    async def says_again(self) -> None:
        assert self.client is not None
        await self.client.call("chat.send_stream", text=self.said, idempotency_key=f"k{self.number}")

    async def answers(self) -> list[str]:
        assert self.client is not None
        found = await self.client.call("chat.history", session_key="agent:main:websocket:direct:alice")
        return [m["text"] for m in found["messages"] if m["role"] == "assistant"]


class OnTheTerminal(Conversation):
    name = "cli"

    async def open(self) -> None:
        self.answered: list[str] = []
        self.talking: set[asyncio.Task[None]] = set()
        self.before: asyncio.Task[None] | None = None

    async def close(self) -> None:
        for task in self.talking:
            task.cancel()
        await asyncio.gather(*self.talking, return_exceptions=True)

    async def says(self, text: str) -> None:
        self.before = asyncio.get_running_loop().create_task(self._one(text, self.before))
        self.talking.add(self.before)

    async def _one(self, text: str, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        code, out, error = await self.gateway.command("chat", text, seconds=60)
        self.answered.append(out if code == 0 else error)

    async def answers(self) -> list[str]:
        return self.answered


class TestTelegram(ConversationContract):
    def make(self) -> Conversation:
        return OnTelegram()


class TestDiscord(ConversationContract):
    def make(self) -> Conversation:
        return OnDiscord()


class TestFeishu(ConversationContract):
    def make(self) -> Conversation:
        return OnFeishu()


class TestWebSocket(ConversationContract):
    def make(self) -> Conversation:
        return OnTheWeb()


class TestTerminal(ConversationContract):
    def make(self) -> Conversation:
        return OnTheTerminal()
