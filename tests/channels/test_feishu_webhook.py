"""Feishu's webhook: what is let in, what is refused before it is read, and that once is once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from multidict import CIMultiDict

from bus.errors import Overloaded, TooLarge
from channels.base import BaseChannel, Incoming, Reply
from channels.errors import ChannelAuthFailed
from channels.feishu.channel import FeishuChannel
from channels.settings import FeishuSettings
from tests.channels.notebook import Notebook, until
from tests.channels.test_feishu import made
from tests.fakes.feishu_server import FakeFeishu

WEBHOOK = {"mode": "webhook", "encrypt_key": "encrypt-key", "verification_token": "verification-token"}


class Body:
    """A request's body that counts how much of it was read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[int] = []

    async def read(self, limit: int) -> bytes:
        self.asked.append(limit)
        if len(self.data) > limit:
            raise TooLarge
        return self.data


@asynccontextmanager
async def open_webhook(notes: Notebook) -> AsyncIterator[tuple[FakeFeishu, FeishuChannel]]:
    async with FakeFeishu() as fake:
        channel = made(fake, notes, **WEBHOOK)
        await channel.start()
        task = asyncio.create_task(channel.run())
        await until(lambda: channel.state.state == "ready")
        yield fake, channel
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await channel.stop()


async def call(channel: BaseChannel, body: bytes, headers: dict[str, str]) -> tuple[Reply, Body]:
    read = Body(body)
    return await channel.webhook(CIMultiDict(headers), read.read), read


@pytest.mark.attack(53)
@pytest.mark.parametrize("missing", ["encrypt_key", "verification_token"])
@pytest.mark.parametrize("value", [None, ""])
async def test_it_refuses_to_exist_without_both_keys(missing: str, value: str | None) -> None:
    keys = {"app_id": "a", "app_secret": "s", **WEBHOOK, missing: value}
    with pytest.raises(ChannelAuthFailed, match="encrypt_key and verification_token"):
        FeishuChannel(FeishuSettings.model_validate(keys), Notebook())


async def test_a_genuine_event_is_answered_when_it_is_durable() -> None:
    notes = Notebook()
    notes.hold.clear()
    async with open_webhook(notes) as (fake, channel):
        task = asyncio.create_task(call(channel, *fake.webhook.sign(fake.message_event("ou_1", "你好"))))
        await asyncio.sleep(0.05)
        assert not task.done()
        notes.hold.set()
        reply, _ = await task
        assert (reply.status, notes.texts) == (200, ["你好"])


@pytest.mark.attack(23)
@pytest.mark.parametrize("odd", [{"header": "x"}, {"header": [1]}, {"event": ["x"]}, {"event": {"message": 1}}])
async def test_a_genuine_event_without_shape_is_answered_and_done_with(odd: dict[str, Any]) -> None:
    notes = Notebook()
    async with open_webhook(notes) as (fake, channel):
        event = fake.event("im.message.receive_v1", {}) | {"token": fake.verification_token} | odd
        reply, _ = await call(channel, *fake.webhook.sign(event))
        assert (reply.status, notes.texts) == (200, [])
        reply, _ = await call(channel, *fake.webhook.sign(fake.message_event("ou_1", "after it")))
        assert (reply.status, notes.texts) == (200, ["after it"])


async def test_the_challenge_is_answered_signed_or_not() -> None:
    async with open_webhook(Notebook()) as (fake, channel):
        body, headers = fake.webhook.sign(
            {"type": "url_verification", "challenge": "c-1", "token": "verification-token"}
        )
        for sent in (headers, {}):
            reply, _ = await call(channel, body, sent)
            assert (reply.status, json.loads(reply.body)) == (200, {"challenge": "c-1"})
        body, headers = fake.webhook.sign({"type": "url_verification", "challenge": "c-1", "token": "guess"})
        assert (await call(channel, body, headers))[0].status == 401
        assert (await call(channel, body, {}))[0].status == 401


@pytest.mark.attack(53)
async def test_forged_and_old_calls_are_refused() -> None:
    notes = Notebook()
    async with open_webhook(notes) as (fake, channel):
        event = fake.message_event("ou_1", "let me in")
        for changes in ({"signature": "0" * 64}, {"age": 301}, {"age": -301}, {"encrypted": False}):
            body, headers = fake.webhook.sign(event, **changes)
            assert (await call(channel, body, headers))[0].status == 401, changes
        body, headers = fake.webhook.sign(event)
        for gone in headers.keys() - {"Content-Type", "X-Lark-Request-Nonce"}:
            left = {k: v for k, v in headers.items() if k != gone}
            assert (await call(channel, body, left))[0].status == 401, gone
        assert (await call(channel, body + b" ", headers))[0].status == 401
        assert (await call(channel, b"[]", {}))[0].status == 401
        assert notes.incoming == []


@pytest.mark.attack(53)
async def test_odd_headers_are_refused_like_any_others() -> None:
    notes = Notebook()
    async with open_webhook(notes) as (fake, channel):
        body, headers = fake.webhook.sign(fake.message_event("ou_1", "let me in"))
        for name, value in [
            ("X-Lark-Request-Timestamp", "9" * 400), ("X-Lark-Signature", "\udcff"),
            ("X-Lark-Request-Nonce", "\udcff"),
        ]:  # fmt: skip
            assert (await call(channel, body, headers | {name: value}))[0].status == 401, name
        body, headers = fake.webhook.sign({"header": ["verification-token"], "type": "url_verification"})
        assert (await call(channel, body, headers))[0].status == 401
        assert notes.incoming == []


@pytest.mark.attack(53)
async def test_an_old_time_is_refused_before_the_body_is_read() -> None:
    async with open_webhook(Notebook()) as (fake, channel):
        body, headers = fake.webhook.sign(fake.message_event("ou_1", "x"), age=400)
        reply, read = await call(channel, body, headers)
        assert (reply.status, read.asked) == (401, [])


@pytest.mark.attack(54)
async def test_a_huge_body_is_not_read() -> None:
    async with open_webhook(Notebook()) as (fake, channel):
        _, headers = fake.webhook.sign(fake.message_event("ou_1", "x"))
        reply, read = await call(channel, b"x" * 1_000_000, headers)
        assert reply.status == 413 and max(read.asked) <= 256 * 1024
        reply, read = await call(channel, b"x" * 1_000_000, {})
        assert reply.status == 401 and max(read.asked) <= 8 * 1024


@pytest.mark.attack(56)
async def test_a_signature_written_otherwise_is_the_same_event() -> None:
    notes = Notebook()
    async with open_webhook(notes) as (fake, channel):
        event = fake.message_event("ou_1", "once")
        for _ in range(3):
            body, headers = fake.webhook.sign(event)
            shouted = {k.upper(): f" {v.upper()} " if "signature" in k.lower() else v for k, v in headers.items()}
            assert (await call(channel, body, shouted))[0].status == 200
        assert len({i.key for i in notes.incoming}) == 1


async def test_a_tap_is_answered_with_its_note() -> None:
    notes = Notebook()
    notes.note = "done"
    async with open_webhook(notes) as (fake, channel):
        event = fake.event("card.action.trigger", {
            "operator": {"open_id": "ou_1"}, "action": {"value": {"data": "x", "kind": "direct"}, "tag": "button"},
            "context": {"open_message_id": "om_1", "open_chat_id": "oc_ou_1"}})  # fmt: skip
        reply, _ = await call(channel, *fake.webhook.sign(event))
        assert json.loads(reply.body) == {"toast": {"type": "info", "content": "done"}}


async def test_an_overloaded_gateway_says_so_and_feishu_comes_again() -> None:
    class Full(Notebook):
        async def message(self, channel: BaseChannel, incoming: Incoming) -> None:
            raise Overloaded

    async with open_webhook(Full()) as (fake, channel):
        assert (await call(channel, *fake.webhook.sign(fake.message_event("ou_1", "x"))))[0].status == 503
        await channel.pause()
        assert (await call(channel, *fake.webhook.sign(fake.message_event("ou_1", "x"))))[0].status == 503


async def test_a_call_that_waits_is_let_go_when_the_channel_stops() -> None:
    notes = Notebook()
    notes.hold.clear()
    async with open_webhook(notes) as (fake, channel):
        waiting = asyncio.create_task(call(channel, *fake.webhook.sign(fake.message_event("ou_1", "x"))))
        await asyncio.sleep(0.05)
    reply, _ = await asyncio.wait_for(waiting, 2)
    assert reply.status == 503


@pytest.mark.quiet
async def test_with_the_long_connection_there_is_no_webhook() -> None:
    async with FakeFeishu() as fake:
        channel = made(fake, Notebook())
        body, headers = fake.webhook.sign(fake.message_event("ou_1", "x"))
        started: Any = time.monotonic()
        assert (await call(channel, body, headers))[0].status == 404
        assert time.monotonic() - started < 1
        await channel.stop()
