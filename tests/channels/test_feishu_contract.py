"""Feishu under the contract of all channels, over the long connection and over the webhook."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.channels.rig import Rig
from tests.contracts.channel_contract import ChannelContract, FakePlatform, Fault
from tests.fakes.faults import Fault as Struck
from tests.fakes.feishu_rest import rate_limit
from tests.fakes.feishu_server import FakeFeishu, mention, sender
from tests.fakes.feishu_socket import Push
from tests.fakes.feishu_world import Object, walk

SEND = r"im/v1/messages(/[^/]+/reply)?$"


class FeishuPlatform(FakePlatform):
    name = "feishu"
    remembers_nonces = True
    limit = 20_000
    group = "oc_listed"
    other_group = "oc_other"
    has_edits_by_people = False

    def __init__(self) -> None:
        self.fake = FakeFeishu()

    async def start(self) -> None:
        for chat in (self.group, self.other_group):
            self.fake.world.chat(chat, "group")
        await self.fake.start()

    async def stop(self) -> None:
        await self.fake.stop()

    def section(self) -> dict[str, Any]:
        return {"app_id": self.fake.app_id, "app_secret": "feishu-secret", "domain": self.fake.domain}

    async def person_says(
        self, text: str, *, person: str = "42", group: str | None = None, mentioned: bool = False,
        thread: str | None = None, bot: bool = False,
    ) -> str:  # fmt: skip
        if bot:
            message: Object = {"message_id": "om_bot", "chat_id": self.fake.chat_of(person), "chat_type": "p2p",
                               "message_type": "text", "content": '{"text": "beep"}', "create_time": "1"}  # fmt: skip
            await self.fake.happens("im.message.receive_v1", {"sender": sender(person, "app"), "message": message})
            return "om_bot"
        more: Object = {"thread_id": thread} if thread else {}
        if mentioned and group:
            text, more["mentions"] = f"@_user_1 {text}", [mention("ou_bot")]
        return await self.fake.says(person, text, chat=group, **more)

    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        if kind == "photo":
            key = self.fake.upload(data, "image/png")
            content = [[{"tag": "img", "image_key": key}], [{"tag": "text", "text": caption}]]
            return await self.fake.sends(person, "post", {"title": "", "content": content})
        key = self.fake.upload(data, "application/octet-stream")
        if kind == "voice":
            return await self.fake.sends(person, "audio", {"file_key": key, "duration": 1000})
        return await self.fake.sends(person, "file", {"file_key": key, "file_name": "a.bin"})

    def _messages(self, person: str, group: str | None) -> list[Object]:
        return self.fake.world.shown(group or self.fake.chat_of(person))

    def _buttons(self, message: Object) -> list[tuple[str, Object]]:
        if message["msg_type"] != "interactive":
            return []
        elements = walk(self.fake.world.card_of(message))
        return [(e["text"]["content"], e["behaviors"][0]["value"]) for e in elements if e["tag"] == "button"]

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        for message in reversed(self._messages("42", group)):
            for text, value in self._buttons(message):
                if label in text:
                    await self.fake.presses(person, message["message_id"], value)
                    return

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        return any(label in text for m in self._messages(person, group) for text, _ in self._buttons(m))

    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        kinds = {"image": "[photo]", "file": "[file]", "audio": "[voice]"}
        return [
            kinds.get(message["msg_type"]) or self.fake.world.text(message)
            for message in self._messages(person, group)
            if thread is None or message.get("thread_id") == thread
        ]

    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        if times == 0:
            self.fake.faults.clear()
            return
        blocked = {"code": 230013, "msg": "Bot has NO availability to this user."}
        self.fake.faults.strike(fault, SEND, times, limited=rate_limit(0.4), refused=(400, blocked))

    async def outage(self, on: bool) -> None:
        if on:
            self.fake.faults.add(Struck("/", status=503, times=-1))
            await self.fake.connection.drop(politely=False)
        else:
            self.fake.faults.clear()

    async def deliver_again(self) -> None:
        newest = list(self.fake.connection.pushes.values())[-1]
        await self.fake.connection.push(newest.payload)

    async def refuse_token(self, refused: bool) -> None:
        self.fake.rest.app_secret = self.fake.connection.app_secret = "another" if refused else "feishu-secret"


class ByWebhook(FeishuPlatform):
    """Events are posted to the gateway, again and again until it answers 200, as Feishu does."""

    def __init__(self) -> None:
        super().__init__()
        self.rig: Rig | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self.fake.connection.push = self._push

    def section(self) -> dict[str, Any]:
        keys = {"encrypt_key": "encrypt-key", "verification_token": "verification-token"}
        return super().section() | {"mode": "webhook"} | keys

    async def _push(self, payload: Object, *, times: int = 1) -> Push:
        push = self.fake.connection.pushes.setdefault(payload["header"]["event_id"], Push(payload))
        task = asyncio.get_running_loop().create_task(self._post(push))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)
        return push

    async def _post(self, push: Push) -> None:
        while True:
            body, headers = self.fake.webhook.sign(push.payload)

            async def read(limit: int, body: bytes = body) -> bytes:
                assert len(body) <= limit
                return body

            if self.rig is not None:
                reply = await self.rig.manager.webhook("feishu", CIMultiDict(headers), read)
                assert reply.status in (200, 500, 503)
                if reply.status == 200:
                    return
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        for task in self._posts:
            task.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        await super().stop()


class TestFeishuByWebhook(ChannelContract):
    settle = 0.15

    def make_platform(self) -> FakePlatform:
        return ByWebhook()

    @pytest.fixture
    async def rig(self, platform: FakePlatform, tmp_path: Path) -> AsyncIterator[Rig]:
        groups = {"groups": {platform.group: {"allow_from": ["42", "7"]}}}
        rig = Rig(tmp_path, {"feishu": {"enabled": True, **platform.section(), "allow_from": ["42"], **groups}})
        assert isinstance(platform, ByWebhook)
        platform.rig = rig
        await rig.start()
        await rig.ready("feishu")
        yield rig
        await rig.crash()

    # Two make a house of their own, which this platform's posts do not find; and there is no connection to lose.
    test_a_file_that_is_too_large_is_not_taken_and_that_is_said = None
    test_a_refused_token_is_said_and_heals_by_itself = None
    test_an_outage_degrades_this_channel_and_heals = None
    # The way out is the same as with the long connection, under which it is tested.
    test_a_stream_ends_in_one_message_with_all_of_it = None
    test_a_long_answer_is_split_within_the_limit = None
    test_an_error_is_told_and_ends_the_turn = None
    test_what_a_tool_returns_as_picture_is_sent_as_such = None
    test_tools_are_shown_beside_the_answer_and_never_in_it = None
    test_a_passing_trouble_delays_the_one_answer = None
    test_a_lost_answer_of_the_platform_never_doubles_ours = None
    test_a_refusal_is_listed_after_one_try_and_can_be_sent_again = None
    test_one_slow_chat_holds_up_no_other = None
    test_a_crash_in_mid_stream_ends_in_one_whole_answer = None
    test_an_answer_that_nobody_delivered_before_a_crash_is_delivered_after_it = None


class TestFeishu(ChannelContract):
    settle = 0.15

    def make_platform(self) -> FakePlatform:
        return FeishuPlatform()
