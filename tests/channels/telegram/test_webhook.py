"""Telegram's webhook, and a stop."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bus.errors import TooLarge
from bus.events import JsonObject
from channels.base import Reply
from channels.ledger import Ledger
from channels.telegram import albums
from tests.channels.rig import Rig, overloaded, until
from tests.channels.telegram.rigging import section
from tests.contracts.channel_contract import PNG
from tests.fakes.telegram_server import FakeTelegram


class Mouth:
    """A request's body, and how much of it was read."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.read = 0

    async def __call__(self, limit: int) -> bytes:
        self.read = min(limit, len(self.body))
        if len(self.body) > limit:
            raise TooLarge
        return self.body


@pytest.fixture
async def hooked(telegram: FakeTelegram, tmp_path: Path) -> AsyncIterator[Rig]:
    sections = section(telegram, mode="webhook", webhook_secret="s3cret", webhook_url="http://127.0.0.1:1/unused")
    async with Rig(tmp_path, sections).running("telegram") as rig:
        yield rig


def update_of(telegram: FakeTelegram) -> bytes:
    newest = max(telegram.world.history)
    return json.dumps(telegram.world.history[newest]).encode()


Call = Callable[..., Any]


async def hook(rig: Rig, body: Mouth, secret: str | None = "s3cret") -> Reply:
    headers = {"Content-Type": "application/json"}
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    return await rig.manager.webhook("telegram", headers, body)


async def test_a_webhook_call_is_answered_when_the_message_is_durable(telegram: FakeTelegram, hooked: Rig) -> None:
    assert telegram.world.webhook["secret"] == "s3cret"
    telegram.world.person_says(42, "hello")
    assert (await hook(hooked, Mouth(update_of(telegram)))).status == 200
    assert hooked.agent.texts == ["hello"]
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])


@pytest.mark.attack(53)
@pytest.mark.parametrize("secret", [None, "", "wrong", "s3cre", "s3cret ", "ключ"])
async def test_without_the_secret_the_body_is_not_read(telegram: FakeTelegram, hooked: Rig, secret: str | None) -> None:
    mouth = Mouth(b"x" * 100_000_000 if secret == "wrong" else b"{}")
    assert (await hook(hooked, mouth, secret)).status == 401
    assert mouth.read == 0


@pytest.mark.attack(54)
async def test_bodies_that_are_too_large_or_rubbish(telegram: FakeTelegram, hooked: Rig) -> None:
    assert (await hook(hooked, Mouth(b"x" * 2_000_000))).status == 413
    for body in (b"", b"{", b"[]", b"[" * 100_000, b'{"update_id":"x"}', b"\xff\xfe"):
        assert (await hook(hooked, Mouth(body))).status == 400
    assert (await hook(hooked, Mouth(b'{"update_id":7,"message":{"chat":3}}'))).status == 200


@pytest.mark.attack(55)
async def test_one_update_a_hundred_times_at_once_is_one_turn(telegram: FakeTelegram, hooked: Rig) -> None:
    telegram.world.person_says(42, "hello")
    body = update_of(telegram)
    replies = await asyncio.gather(*(hook(hooked, Mouth(body)) for _ in range(100)))
    assert {reply.status for reply in replies} == {200}
    assert hooked.agent.texts == ["hello"]
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])


async def test_an_overloaded_gateway_tells_telegram_to_come_again(
    telegram: FakeTelegram, hooked: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = hooked.manager.host("telegram")
    assert host is not None and host.channel is not None
    monkeypatch.setattr(host.channel.inbound, "patience", 0.1)
    hooked.agent.refuse = overloaded(50)
    telegram.world.person_says(42, "hello")
    body = update_of(telegram)
    assert (await hook(hooked, Mouth(body))).status == 503
    hooked.agent.refuse = []
    assert (await hook(hooked, Mouth(body))).status == 200
    assert hooked.agent.texts == ["hello"]


def a_part(telegram: FakeTelegram, caption: str = "", *, chat: int = 42, album: str = "g") -> Mouth:
    telegram.world.person_sends(chat, "photo", PNG, caption=caption, album=album)
    return Mouth(update_of(telegram))


def taken(rig: Rig) -> list[tuple[str, int]]:
    return [(message.text, len(message.media)) for message in rig.agent.messages]


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_album_by_webhook_is_one_turn(telegram: FakeTelegram, hooked: Rig, at_once: bool) -> None:
    """Telegram sends the next part when the one before was answered; others may stand in between who don't wait."""
    parts = [a_part(telegram, "cats" if number == 0 else "") for number in range(3)]
    if at_once:
        assert {reply.status for reply in await asyncio.gather(*(hook(hooked, part) for part in parts))} == {200}
    else:
        for part in parts:
            assert (await hook(hooked, part)).status == 200
    await until(lambda: hooked.agent.messages)
    for part in parts:  # again, as after an answer that was lost
        assert (await hook(hooked, part)).status == 200
    await asyncio.sleep(albums.ALBUM_SECONDS + 0.3)
    assert taken(hooked) == [("cats", 3)]


async def test_what_follows_an_album_comes_after_it(telegram: FakeTelegram, hooked: Rig) -> None:
    first, second = a_part(telegram, "cats"), a_part(telegram)
    telegram.world.person_says(42, "what are they?")
    text = Mouth(update_of(telegram))
    other = a_part(telegram, "dogs", album="h")
    for body in (first, second, text, other):
        assert (await hook(hooked, body)).status == 200
    assert taken(hooked) == [("cats", 2), ("what are they?", 0)]
    await until(lambda: taken(hooked)[2:] == [("dogs", 1)])


async def test_parts_that_come_while_others_are_taken_wait_for_one_another() -> None:
    taken, slow = [], asyncio.Event()

    async def take(updates: Sequence[JsonObject]) -> None:
        taken.append([update["update_id"] for update in updates])
        await slow.wait()

    async def keep(text: str) -> None: ...

    def part(number: int) -> JsonObject:
        return {"update_id": number, "message": {"media_group_id": "g", "chat": {"id": 42}}}

    held = albums.Albums(take, keep)
    await held.put(("42", "g"), part(1))
    await until(lambda: taken == [[1]])
    await held.put(("42", "g"), part(2))
    slow.set()
    await asyncio.sleep(0.1)
    await held.put(("42", "g"), part(3))
    await until(lambda: len(taken) > 1)
    assert taken == [[1], [2, 3]]
    await held.close()


async def test_an_album_that_was_confirmed_survives_a_crash(telegram: FakeTelegram, hooked: Rig) -> None:
    for caption in ("cats", ""):
        assert (await hook(hooked, a_part(telegram, caption))).status == 200
    assert hooked.agent.messages == []
    await hooked.crash()
    await hooked.start()
    await until(lambda: taken(hooked) == [("cats", 2)])
    await until(lambda: telegram.world.visible(42) == ["You said: cats"])
    await hooked.crash()
    await hooked.start()
    await asyncio.sleep(albums.ALBUM_SECONDS + 0.2)
    assert telegram.world.visible(42) == ["You said: cats"]


async def test_an_album_that_cannot_be_kept_is_not_confirmed_and_one_that_cannot_be_taken_yet_is_later(
    telegram: FakeTelegram, hooked: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = hooked.manager.host("telegram")
    assert host is not None and host.channel is not None
    monkeypatch.setattr(host.channel.inbound, "patience", 0.1)
    monkeypatch.setattr(albums, "AGAIN_SECONDS", 0.05)

    async def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "keep_note", full)
        first = a_part(telegram, "cats")
        assert (await hook(hooked, first)).status == 503
    hooked.agent.refuse = overloaded(5)
    for part in (first, a_part(telegram)):
        assert (await hook(hooked, part)).status == 200
    telegram.world.person_says(42, "and?")
    await until(lambda: taken(hooked) == [("cats", 2)])


async def test_where_no_webhook_is_configured_there_is_none(telegram: FakeTelegram, rig: Rig) -> None:
    assert (await hook(rig, Mouth(b"{}"))).status == 404
    assert (await rig.manager.webhook("feishu", {}, Mouth(b"{}"))).status == 404
    assert (await rig.manager.webhook("nonsense", {}, Mouth(b"{}"))).status == 404


async def test_a_stop_lets_what_waits_go_out_and_takes_nothing_more_in(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.limited("sendMessage", 1)
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.faults.hits == 1)
    await rig.manager.pause()
    telegram.world.person_says(42, "too late")
    await rig.stop()
    assert telegram.world.visible(42) == ["You said: hello"]
    assert rig.agent.texts == ["hello"]
    assert len(telegram.world.pending()) == 1


async def test_a_stop_does_not_wait_for_what_the_platform_holds_up(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.limited("sendMessage", 1200)
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.faults.hits == 1)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await rig.stop()
    assert time.monotonic() - began < 2
