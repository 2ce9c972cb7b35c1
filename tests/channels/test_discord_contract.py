"""Discord under the contract of all channels."""

from typing import Any

from tests.contracts.channel_contract import ChannelContract, FakePlatform, Fault
from tests.fakes.discord_rest import rate_limit
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.discord_world import Object, user
from tests.fakes.faults import Fault as Struck

SEND = r"/channels/\d+/messages$"
MIMES = {
    "photo": ("cat.png", "image/png"),
    "voice": ("voice-message.ogg", "audio/ogg"),
    "document": ("a.txt", "text/x"),
}


class DiscordPlatform(FakePlatform):
    name = "discord"
    remembers_nonces = True
    limit = 2000
    group = "60"
    other_group = "65"

    def __init__(self) -> None:
        self.fake = FakeDiscord()
        self.newest: Object = {}

    async def start(self) -> None:
        world = self.fake.world
        world.guild("50")
        for channel in (self.group, self.other_group):
            world.channel(channel, guild="50")
        world.channel(self.thread, guild="50", parent=self.group)
        await self.fake.start()

    async def stop(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {"token": self.fake.token, "api_url": self.fake.api_url}

    async def person_says(
        self, text: str, *, person: str = "42", group: str | None = None, mentioned: bool = False,
        thread: str | None = None, bot: bool = False,
    ) -> str:  # fmt: skip
        more: Object = {"author": user(person, bot=bot)}
        if mentioned and group:
            text, more["mentions"] = f"<@900> {text}", [self.fake.world.bot]
        channel = thread or group or self.fake.world.private_channel(person)["id"]
        said = await self.fake.says(person, text, channel=channel, **more)
        self.newest = self.fake.world.find(channel, said) or {}
        return said

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        await self.fake.edits(message_id, text)

    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        name, mime = MIMES[kind]
        return await self.fake.uploads(person, data, name=name, mime=mime, text=caption)

    def _messages(self, person: str, group: str | None, thread: str | None = None) -> list[Object]:
        return self.fake.world.shown(thread or group or self.fake.world.private_channel(person)["id"])

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        for message in reversed(self._messages("42", group)):
            for row in message["components"]:
                for button in row["components"]:
                    if label in button["label"]:
                        await self.fake.presses(person, message["id"], button["custom_id"])
                        return

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        rows = [row for message in self._messages(person, group) for row in message["components"]]
        return any(label in button["label"] for row in rows for button in row["components"])

    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        return [
            message["content"] or ("[photo]" if message["attachments"][0]["filename"].endswith(".png") else "[file]")
            for message in self._messages(person, group, thread)
        ]

    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        if times == 0:
            self.fake.faults.clear()
            return
        blocked = {"message": "Cannot send messages to this user", "code": 50007}
        self.fake.faults.strike(fault, SEND, times, limited=rate_limit(1.2), refused=(403, blocked))

    async def outage(self, on: bool) -> None:
        self.fake.gateway.closed = on
        if on:
            self.fake.faults.add(Struck("/", status=503, times=-1))
            await self.fake.gateway.cut()
        else:
            self.fake.faults.clear()

    async def deliver_again(self) -> None:
        await self.fake.gateway.dispatch("MESSAGE_CREATE", self.newest)

    async def refuse_token(self, refused: bool) -> None:
        self.fake.rest.token = self.fake.gateway.token = "another" if refused else self.fake.token


class TestDiscord(ChannelContract):
    settle = 0.15

    def make_platform(self) -> FakePlatform:
        return DiscordPlatform()
