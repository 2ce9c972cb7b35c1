"""Telegram end to end against a Bot API server: what is particular to it, and what breaks."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter

from bus.errors import TooLarge
from channels import errors
from channels.base import Reply
from channels.items import PLACEHOLDER
from channels.telegram.client import NotModified, as_channel_error
from tests.channels.rig import Rig, Turn, overloaded, until
from tests.contracts.channel_contract import PNG
from tests.fakes.telegram_server import FakeTelegram

GROUP = -100200


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        fake.world.chat(42)
        fake.world.chat(GROUP).forum = True
        yield fake


def section(fake: FakeTelegram, **more: Any) -> dict[str, Any]:
    return {
        "telegram": {
            "enabled": True, "token": fake.token, "base_url": fake.url, "allow_from": ["42"],
            "groups": {str(GROUP): {"allow_from": ["*"]}}, **more,
        }
    }  # fmt: skip


@pytest.fixture
async def rig(telegram: FakeTelegram, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, section(telegram)).running("telegram") as rig:
        yield rig


async def slowly(turn: Turn) -> None:
    for number in range(15):
        turn.say(f"w{number} ")
        await asyncio.sleep(0.1)
    turn.done()


# ---------------------------------------------------------------- in


async def test_an_update_is_confirmed_only_when_it_is_durable(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.holding = asyncio.Event()
    telegram.world.person_says(42, "hello")
    await asyncio.sleep(0.8)
    assert len(telegram.world.pending()) == 1
    rig.agent.holding.set()
    await until(lambda: telegram.world.pending() == [])
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])


async def test_a_message_that_takes_long_to_take_in_holds_up_no_other_chat(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("getFile", kind="stall", seconds=1.5)
    telegram.world.person_sends(42, "photo", PNG)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    telegram.world.person_says(GROUP, "/status", user=7)
    await until(lambda: telegram.world.visible(GROUP) == ["You said: /status"])
    assert time.monotonic() - began < 1.2
    await until(lambda: len(rig.agent.messages) == 2 and telegram.world.pending() == [])


async def test_messages_of_one_chat_stay_in_order_behind_a_slow_one(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("getFile", kind="stall", seconds=0.7)
    telegram.world.person_sends(42, "photo", PNG, caption="first")
    telegram.world.person_says(42, "second")
    await until(lambda: len(rig.agent.messages) == 2)
    assert rig.agent.texts == ["first", "second"]


async def test_an_album_is_one_turn_even_where_its_parts_come_late(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_sends(42, "photo", PNG, caption="my cats", album="g1")
    await asyncio.sleep(0.2)
    for _ in range(2):
        telegram.world.person_sends(42, "photo", PNG, album="g1")
    await until(lambda: rig.agent.messages)
    await asyncio.sleep(0.8)
    assert [(m.text, len(m.media)) for m in rig.agent.messages] == [("my cats", 3)]
    assert telegram.world.pending() == []


async def test_a_voice_message_is_written_down(telegram: FakeTelegram, tmp_path: Path) -> None:
    class Scribe:
        async def transcribe(self, data: bytes, *, mime: str, name: str) -> str:
            return f"{len(data)} bytes of {mime}"

    rig = Rig(tmp_path, section(telegram))
    rig.transcriber = Scribe()
    async with rig.running("telegram"):
        telegram.world.person_sends(42, "voice", b"OggS1234", mime="audio/ogg")
        await until(lambda: rig.agent.messages)
        assert rig.agent.messages[0].text == "8 bytes of audio/ogg"
        assert rig.agent.messages[0].media[0].mime == "audio/ogg"


async def test_a_size_that_the_platform_conceals_is_noticed_while_downloading(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    async with Rig(tmp_path, section(telegram, max_media_bytes=1000)).running("telegram") as rig:
        telegram.world.person_sends(42, "document", b"x" * 5000, said_size=10, caption="c")
        await until(lambda: rig.agent.messages)
        assert rig.agent.messages[0].media == ()


async def test_a_topic_is_answered_in_the_topic_and_the_bot_is_found_in_it(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.world.person_says(GROUP, "@b_bot here", user=7, thread=77)
    await until(lambda: telegram.world.visible(GROUP))
    assert telegram.world.bot_messages(GROUP)[0].thread == 77
    assert rig.agent.messages[0].session.text == f"agent:main:telegram:group:{GROUP}:topic:77"
    assert {str(p.get("message_thread_id")) for p in telegram.said("sendChatAction")} == {"77"}


async def test_a_group_that_moves_keeps_its_session_and_is_still_listed(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_says(GROUP, "@b_bot one", user=7)
    await until(lambda: telegram.world.visible(GROUP) == ["You said: one"])
    telegram.world.group_moves(GROUP, -100999)
    await until(lambda: telegram.world.pending() == [])
    await rig.crash()
    await rig.start()
    telegram.world.person_says(-100999, "@b_bot two", user=7)
    await until(lambda: telegram.world.visible(-100999) == ["You said: two"])
    first, second = rig.agent.messages
    assert first.session == second.session


async def test_a_group_that_moved_unnoticed_is_found_by_the_refusal(telegram: FakeTelegram, rig: Rig) -> None:
    async def late(turn: Turn) -> None:
        telegram.world.chat(-100999, "supergroup")
        telegram.world.chat(GROUP).moved_to = -100999
        turn.say("found you")
        turn.done()

    rig.agent.script = late
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.world.visible(-100999) == ["found you"])
    assert telegram.world.visible(GROUP) == []


async def test_reactions_and_joins_reach_nothing(telegram: FakeTelegram, rig: Rig) -> None:
    number = telegram.world.person_says(42, "hi")
    await until(lambda: telegram.world.visible(42))
    telegram.world.person_reacts(42, number, 42)
    telegram.world.person_joins(GROUP, 666)
    await until(lambda: telegram.world.pending() == [])
    assert len(rig.agent.messages) == 1


async def test_an_edit_that_changes_nothing_is_no_turn_and_a_second_edit_replaces_the_first(
    telegram: FakeTelegram, rig: Rig
) -> None:
    number = telegram.world.person_says(42, "one")
    await until(lambda: len(rig.agent.messages) == 1)
    telegram.world.person_edits(42, number, "one")
    telegram.world.person_edits(42, number, "two")
    telegram.world.person_edits(42, number, "one")
    await until(lambda: len(rig.agent.messages) == 3)
    one, two, again = rig.agent.messages
    assert (two.replaces, again.replaces) == (one.message_id, two.message_id)


async def test_an_update_that_nobody_understands_does_not_stop_the_others(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world._put({"message": {"chat": 5, "from": None}})
    telegram.world._put({"edited_message": "?"})
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])
    await until(lambda: telegram.world.pending() == [])


# ---------------------------------------------------------------- out


async def test_drafts_stream_in_private_and_one_message_is_sent(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.world.person_says(42, "go")
    drafts = await until(lambda: telegram.world.chat(42).drafts)
    assert next(iter(drafts.values())).startswith("w0")
    await until(lambda: telegram.world.visible(42))
    assert len(telegram.said("sendMessage")) == 1
    assert telegram.said("editMessageText") == []
    assert len({p["draft_id"] for p in telegram.said("sendMessageDraft")}) == 1


async def test_an_older_server_without_drafts_gets_edits(tmp_path: Path) -> None:
    async with FakeTelegram(drafts=False) as fake, Rig(tmp_path, section(fake)).running("telegram") as rig:
        rig.agent.script = slowly
        fake.world.person_says(42, "go")
        await until(lambda: fake.world.visible(42) == [" ".join(f"w{n}" for n in range(15))])
        assert len(fake.said("sendMessage")) == 1
        assert fake.said("editMessageText")
        assert rig.state("telegram") == "ready"


async def test_groups_stream_by_edits_within_the_rates(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.world.visible(GROUP) == [" ".join(f"w{n}" for n in range(15))])
    assert telegram.said("sendMessageDraft") == []
    assert len(telegram.said("sendMessage")) == 1
    assert telegram.said("sendMessage")[0]["text"] == PLACEHOLDER.markdown
    assert len(telegram.said("editMessageText")) <= 3


async def test_streaming_off_sends_the_end_alone(telegram: FakeTelegram, tmp_path: Path) -> None:
    async with Rig(tmp_path, section(telegram, streaming="off")).running("telegram") as rig:
        rig.agent.script = slowly
        telegram.world.person_says(42, "go")
        await until(lambda: telegram.world.visible(42))
        assert telegram.said("sendMessageDraft") == telegram.said("editMessageText") == []


async def test_the_message_is_acknowledged_typed_for_and_replied_to(telegram: FakeTelegram, rig: Rig) -> None:
    async def thinking(turn: Turn) -> None:
        await asyncio.sleep(0.3)
        turn.say("yes")
        turn.done()

    rig.agent.script = thinking
    number = telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42))
    assert telegram.world.chat(42).messages[number].reactions == ["👀"]
    assert telegram.world.chat(42).actions == ["typing"]
    assert telegram.world.bot_messages(42)[0].reply_to == number


async def test_an_answer_to_a_message_that_was_deleted_still_comes(telegram: FakeTelegram, rig: Rig) -> None:
    async def late(turn: Turn) -> None:
        telegram.world.person_deletes(42, number)
        turn.say("still here")
        turn.done()

    rig.agent.script = late
    number = telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42) == ["still here"])


async def test_the_command_menu_is_there_in_both_languages(telegram: FakeTelegram, rig: Rig) -> None:
    await until(lambda: set(telegram.world.commands) == {"", "zh"})
    english = {c["command"]: c["description"] for c in telegram.world.commands[""]}
    chinese = {c["command"]: c["description"] for c in telegram.world.commands["zh"]}
    assert english["new"] == "start a new conversation"
    assert chinese["new"] == "开始新的对话"
    assert "pair" not in english


async def test_refused_markup_becomes_plain_text(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.refuse("sendMessage", 400, "Bad Request: can't parse entities: unsupported start tag")
    telegram.world.person_says(42, "**x**")
    await until(lambda: telegram.world.visible(42) == ["You said: x"])
    assert telegram.world.bot_messages(42)[0].entities == []


async def test_a_picture_that_is_none_goes_as_a_file(telegram: FakeTelegram, rig: Rig) -> None:
    async def draw(turn: Turn) -> None:
        ref = await rig.media.save(b"not a png", mime="image/png", name="cat.png", owner=turn.message.actor.user)
        turn.tool("draw", (ref,))
        turn.say("a cat")
        turn.done()

    rig.agent.script = draw
    telegram.world.person_says(42, "draw")
    await until(lambda: telegram.world.visible(42) == ["[document]", "a cat"])


@pytest.mark.attack(62)
async def test_flood_control_in_mid_stream_costs_nothing_but_time(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.limited("sendMessageDraft", 2)
    began = time.monotonic()
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.visible(42) == [" ".join(f"w{n}" for n in range(15))])
    assert 1.9 < time.monotonic() - began < 4
    assert len(telegram.said("sendMessage")) == 1


@pytest.mark.attack(62)
async def test_a_long_flood_wait_is_kept_over_a_restart(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.limited("sendMessage", 1200)
    telegram.world.person_says(42, "hello")
    await until(lambda: rig.manager.states()["telegram"]["queued"] == 1)
    await asyncio.sleep(0.3)
    await rig.crash()
    await rig.start()
    await rig.ready("telegram")
    await asyncio.sleep(0.5)
    assert len(telegram.said("sendMessage")) == 0
    assert rig.manager.states()["telegram"]["queued"] == 1


@pytest.mark.attack(64)
async def test_a_crash_while_a_send_is_under_way_is_listed(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("sendMessage", kind="stall", seconds=0.8)
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.faults.hits == 1)
    await rig.crash()
    await rig.start()
    await rig.ready("telegram")
    await asyncio.sleep(1.0)
    listed = await rig.manager.deliveries()
    assert [d["state"] for d in listed] == ["unknown"]
    assert len(telegram.world.visible(42)) <= 1


# ---------------------------------------------------------------- trouble


async def test_another_poller_degrades_only_this_channel_and_it_heals(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.refuse("getUpdates", 409, "Conflict: terminated by other getUpdates request", 2)
    for poll in list(telegram._polls):
        poll.set()
    await until(lambda: rig.state("telegram") == "degraded")
    assert "another program" in rig.manager.states()["telegram"]["reason"]
    await until(lambda: rig.state("telegram") == "ready")


async def test_a_silent_poll_is_noticed(telegram: FakeTelegram, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.telegram.polling.POLL_SECONDS", 0)
    monkeypatch.setattr("channels.telegram.polling.POLL_GRACE_SECONDS", 0.3)
    telegram.fault("getUpdates", kind="stall", seconds=5, times=3)
    telegram.world.person_says(42, "first")
    await until(lambda: "silent" in str(rig.manager.states()["telegram"].get("reason")))
    telegram.world.person_says(42, "are you there")
    await until(lambda: telegram.world.visible(42) == ["You said: first", "You said: are you there"])
    assert rig.state("telegram") == "ready"


@pytest.mark.attack(62)
async def test_a_token_that_is_revoked_while_running_fails_and_heals(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.revoke()
    for poll in list(telegram._polls):
        poll.set()
    await until(lambda: rig.state("telegram") == "failed")
    assert rig.manager.states()["telegram"]["reason"] == "Telegram refuses the bot token"
    telegram.revoke(False)
    await until(lambda: rig.state("telegram") == "ready")


@pytest.mark.attack(62)
async def test_a_tls_failure_is_said(telegram: FakeTelegram, tmp_path: Path) -> None:
    sections = section(telegram, base_url=telegram.url.replace("http:", "https:"))
    rig = await Rig(tmp_path, sections).start()
    try:
        await until(lambda: rig.state("telegram") == "degraded")
        assert "can't be reached" in rig.manager.states()["telegram"]["reason"]
    finally:
        await rig.crash()


async def test_the_token_is_in_no_log_line(
    telegram: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    telegram.token = "1:SECRETCANARY"
    telegram.refuse("sendMessage", 500, "boom")
    async with Rig(tmp_path, section(telegram)).running("telegram"):
        telegram.world.person_says(42, "hello")
        await until(lambda: telegram.world.visible(42))
    mine = [r.getMessage() + str(r.exc_info) for r in caplog.records if not r.name.startswith(("aiohttp", "asyncio"))]
    assert not [line for line in mine if "SECRETCANARY" in line]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RetryAfter(7), errors.RateLimited),
        (BadRequest("Message is not modified: specified new"), NotModified),
        (BadRequest("Message to edit not found"), errors.MessageGone),
        (BadRequest("Message can't be edited"), errors.EditExpired),
        (BadRequest("Chat not found"), errors.DeliveryRejected),
        (Forbidden("Forbidden: bot was blocked by the user"), errors.DeliveryRejected),
        (InvalidToken("Unauthorized"), errors.ChannelAuthFailed),
        (NetworkError("Bad Gateway"), errors.ChannelUnavailable),
    ],
)
def test_the_table_of_errors(error: Any, kind: type[Exception]) -> None:
    assert type(as_channel_error(error)) is kind


# ---------------------------------------------------------------- webhook


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


async def test_an_album_by_webhook_is_one_turn(telegram: FakeTelegram, hooked: Rig) -> None:
    calls = []
    for number in range(3):
        telegram.world.person_sends(42, "photo", PNG, caption="cats" if number == 0 else "", album="g")
        calls.append(hook(hooked, Mouth(update_of(telegram))))
    assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
    assert [(m.text, len(m.media)) for m in hooked.agent.messages] == [("cats", 3)]


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
