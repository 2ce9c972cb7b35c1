"""Telegram under the contract of all channels."""

from typing import Any

from tests.contracts.channel_contract import ChannelContract, FakePlatform, Fault
from tests.fakes.faults import Fault as Struck
from tests.fakes.telegram_server import FakeTelegram


class TelegramPlatform(FakePlatform):
    name = "telegram"
    remembers_nonces = False
    limit = 4096
    group = "-100200"
    other_group = "-100300"

    def __init__(self) -> None:
        self.fake = FakeTelegram()

    async def start(self) -> None:
        await self.fake.start()
        self.fake.world.chat(self.group).forum = True

    async def stop(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {"token": self.fake.token, "base_url": self.fake.url}

    async def person_says(
        self, text: str, *, person: str = "42", group: str | None = None, mentioned: bool = False,
        thread: str | None = None, bot: bool = False,
    ) -> str:  # fmt: skip
        words = f"@{self.fake.world.username} {text}" if mentioned and group else text
        sender = {"is_bot": True} if bot else {}
        return str(self.fake.world.person_says(group or person, words, user=person, thread=thread, sender=sender))

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        self.fake.world.person_edits(person, int(message_id), text)

    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        return str(self.fake.world.person_sends(person, kind, data, caption=caption))

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        self.fake.world.tap(group or person, label, user=person)

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        messages = self.fake.world.bot_messages(group or person)
        return any(label in b["text"] for m in messages for row in m.buttons for b in row)

    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        messages = self.fake.world.bot_messages(group or person)
        return [m.text or f"[{m.media}]" for m in messages if thread is None or m.thread == int(thread)]

    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        if times == 0:
            self.fake.faults.clear()
        elif fault == "rate_limited":
            self.fake.limited("sendMessage", 1, times)
        elif fault == "unavailable":
            self.fake.refuse("sendMessage", 503, "Service Unavailable", times)
        elif fault == "answer_lost":
            self.fake.fault("sendMessage", kind="lose_answer", times=times)
        else:
            self.fake.refuse("sendMessage", 403, "Forbidden: bot was blocked by the user", times)

    async def outage(self, on: bool) -> None:
        if not on:
            self.fake.faults.clear()
            return
        self.fake.faults.add(Struck(path="/bot", status=503, body={"ok": False, "error_code": 503}, times=-1))
        for poll in list(self.fake._polls):
            poll.set()

    async def deliver_again(self) -> None:
        newest = max(self.fake.world.history)
        self.fake.world.put_again(newest, self.fake.world.history[newest])

    async def refuse_token(self, refused: bool) -> None:
        self.fake.revoke(refused)


class TestTelegram(ChannelContract):
    def make_platform(self) -> FakePlatform:
        return TelegramPlatform()
