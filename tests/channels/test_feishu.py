"""The Feishu adapter against a server that behaves as Feishu does: in, out, cards, and what breaks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pydantic import SecretStr

from bus.errors import TooLarge
from channels.base import Address, Button, Media, Text
from channels.errors import (
    ChannelAuthFailed,
    ChannelError,
    ChannelUnavailable,
    DeliveryRejected,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)
from channels.feishu.api import FeishuApi
from channels.feishu.cards import Cards
from channels.feishu.channel import FeishuChannel
from channels.feishu.connection import Connection
from channels.settings import FeishuSettings
from tests.channels.notebook import Notebook, connected, until
from tests.fakes.faults import Fault
from tests.fakes.feishu_rest import rate_limit
from tests.fakes.feishu_server import FakeFeishu, mention, sender

ME = Address(kind="direct", chat="ou_1")
GROUP = Address(kind="group", chat="oc_g")


@pytest.fixture
async def feishu() -> AsyncIterator[FakeFeishu]:
    async with FakeFeishu() as fake:
        fake.world.chat("oc_g", "group")
        fake.chat_of("ou_1")
        yield fake


def made(fake: FakeFeishu, notes: Notebook, *, silence_seconds: float = 20.0, **more: Any) -> FeishuChannel:
    keys = {"app_id": "cli_app", "app_secret": "feishu-secret", "domain": fake.domain, **more}
    return FeishuChannel(FeishuSettings.model_validate(keys), notes, silence_seconds=silence_seconds)


def running(fake: FakeFeishu, notes: Notebook, **more: Any) -> AbstractAsyncContextManager[FeishuChannel]:
    """The adapter, connected."""
    return connected(made(fake, notes, **more))


async def test_a_private_message_comes_in_is_acknowledged_and_answered(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes) as channel:
        message_id = await feishu.says("ou_1", "你好")
        await until(lambda: notes.incoming)
        got = notes.incoming[0]
        assert (got.text, got.key, got.addressed) == ("你好", message_id, True)
        assert str(got.identity) == "feishu:cli_app:ou_1"
        assert got.identity.language == "zh"
        assert (got.place.kind, got.place.chat) == ("direct", "ou_1")
        assert channel.session_of(got).text == "agent:main:feishu:direct:ou_1"
        await until(lambda: all(push.code == 200 for push in feishu.connection.pushes.values()))
        sent = await channel.send(ME, Text(markdown="**hi**"), reply_to=message_id, nonce="n1")
        await channel.edit(ME, sent, Text(markdown="**hi** there"))
        assert feishu.visible("ou_1") == ["**hi** there"]


async def test_a_message_is_acknowledged_only_when_it_is_durable(feishu: FakeFeishu) -> None:
    notes = Notebook()
    notes.hold.clear()
    feishu.connection.retry_seconds = 60
    async with running(feishu, notes):
        await feishu.says("ou_1", "one")
        push = next(iter(feishu.connection.pushes.values()))
        await asyncio.sleep(0.1)
        assert push.code is None
        notes.hold.set()
        await until(lambda: push.code == 200)


@pytest.mark.attack(55)
async def test_what_was_not_acknowledged_comes_again_under_the_same_key(feishu: FakeFeishu) -> None:
    notes = Notebook()
    notes.hold.clear()
    async with running(feishu, notes):
        message_id = await feishu.says("ou_1", "one", times=3)
        await asyncio.sleep(0.05)
    again = Notebook()
    async with running(feishu, again):
        await until(lambda: again.incoming)
        assert {i.key for i in again.incoming} == {message_id}
        await until(lambda: all(p.code == 200 for p in feishu.connection.pushes.values()))


async def test_groups_mentions_and_threads(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes) as channel:
        await feishu.says("ou_1", "just talking", chat="oc_g")
        await feishu.says("ou_1", "@_user_1 what is it?", chat="oc_g", mentions=[mention("ou_bot")])
        asked = [mention("ou_2", "@_user_1", "Bob"), mention("ou_bot", "@_user_2")]
        await feishu.says("ou_1", "@_user_2 ask @_user_1", chat="oc_g", mentions=asked, thread_id="omt_1")
        await feishu.says("ou_1", "/status", chat="oc_g")
        await until(lambda: len(notes.incoming) == 4)
        plain, called, threaded, command = notes.incoming
        assert [i.addressed for i in notes.incoming] == [False, True, True, True]
        assert called.text == "what is it?"
        assert threaded.text == "ask @Bob"
        assert channel.session_of(plain).text == "agent:main:feishu:group:oc_g"
        assert channel.session_of(threaded).text == "agent:main:feishu:group:oc_g:thread:omt_1"
        to = Address(kind="group", chat="oc_g", thread="omt_1")
        await channel.send(to, Text(markdown="in the thread"))
        assert feishu.world.shown("oc_g")[0]["thread_id"] == "omt_1"
        assert command.place.chat == "oc_g"


async def test_where_feishu_does_not_tell_who_we_are_any_mention_is_ours(feishu: FakeFeishu) -> None:
    notes = Notebook()
    feishu.faults.add(Fault("bot/v3/info", status=404, times=-1))
    async with running(feishu, notes):
        await feishu.says("ou_1", "@_user_1 hey", chat="oc_g", mentions=[mention("ou_whoever")])
        await feishu.says("ou_1", "@_all hey", chat="oc_g", mentions=[{"key": "@_all", "name": "all"}])
        await until(lambda: len(notes.incoming) == 2)
        assert [i.addressed for i in notes.incoming] == [True, False]


async def test_a_thread_is_found_again_after_a_restart(feishu: FakeFeishu) -> None:
    feishu.world.messages["om_t"] = {"message_id": "om_t", "chat_id": "oc_g", "thread_id": "omt_1", "msg_type": "text",
                                     "sender": {"sender_type": "user"}, "body": {"content": "{}"}}  # fmt: skip
    async with running(feishu, Notebook()) as channel:
        await channel.send(Address(kind="group", chat="oc_g", thread="omt_1"), Text(markdown="back"))
        assert feishu.world.shown("oc_g")[0]["thread_id"] == "omt_1"


async def test_a_reply_to_us_is_being_spoken_to_also_after_a_restart(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        ours = await channel.send(GROUP, Text(markdown="I said this"))
    notes = Notebook()
    async with running(feishu, notes):
        await feishu.says("ou_1", "and then?", chat="oc_g", parent_id=ours)
        theirs = await feishu.says("ou_2", "my own words", chat="oc_g")
        await feishu.says("ou_1", "hm", chat="oc_g", parent_id=theirs)
        await until(lambda: len(notes.incoming) == 3)
        assert [i.addressed for i in notes.incoming] == [True, False, False]
        assert notes.incoming[0].quoted == "I said this"
        assert notes.incoming[2].quoted == "my own words"


async def test_people_are_named_where_the_app_may_ask(feishu: FakeFeishu) -> None:
    feishu.rest.names = {"ou_1": "小明"}
    notes = Notebook()
    async with running(feishu, notes):
        for text in ("a", "b"):
            await feishu.says("ou_1", text)
        await until(lambda: len(notes.incoming) == 2)
        assert [i.identity.name for i in notes.incoming] == ["小明", "小明"]
        assert len(feishu.sent("GET", "contact")) == 1


async def test_where_it_may_not_it_asks_once_and_goes_on(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes):
        for number, person in enumerate(("ou_1", "ou_2"), start=1):
            await feishu.says(person, "x")
            await until(lambda number=number: len(notes.incoming) == number)
        assert [i.identity.name for i in notes.incoming] == ["", ""]
        assert len(feishu.sent("GET", "contact")) == 1


@pytest.mark.attack(60)
async def test_our_own_messages_are_silent_and_apps_are_named_as_such(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes):
        for open_id in ("ou_bot", "ou_other_app"):
            message = {"message_id": f"om_{open_id}", "chat_id": "oc_g", "chat_type": "group", "message_type": "text",
                       "content": '{"text": "/status"}', "create_time": "1"}  # fmt: skip
            await feishu.happens("im.message.receive_v1", {"sender": sender(open_id, "app"), "message": message})
        await until(lambda: all(p.code == 200 for p in feishu.connection.pushes.values()))
        assert [i.identity.bot for i in notes.incoming] == [True]


@pytest.mark.attack(59)
async def test_reactions_and_joins_pass_and_unknown_events_are_acknowledged(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes):
        await feishu.reacts("ou_9", "om_1")
        joined = {"chat_id": "oc_g", "users": [{"name": "x", "user_id": {"open_id": "ou_8"}}]}
        await feishu.happens("im.chat.member.user.added_v1", joined)
        await feishu.happens("im.message.message_read_v1", {"reader": {}})
        await until(lambda: all(p.code == 200 for p in feishu.connection.pushes.values()))
        assert [r.identity.peer for r in notes.reactions] == ["ou_9", "ou_8"]
        assert all(p.sent == 1 for p in feishu.connection.pushes.values())


async def test_an_odd_event_is_refused_and_does_not_hold_up_the_next(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes):
        odd = await feishu.happens("im.message.receive_v1", {"message": {"chat_id": "oc_g"}})
        await feishu.says("ou_1", "fine", chat="oc_g")
        await until(lambda: notes.texts == ["fine"])
        assert odd.code == 500


@pytest.mark.attack(23)
@pytest.mark.parametrize("event", [["x"], {"message": "hello"}, {"message": ["x"]}, "x"])
async def test_an_event_without_shape_costs_nothing_but_itself(feishu: FakeFeishu, event: Any) -> None:
    """It would come again on the next connection, and end that too."""
    notes = Notebook()
    async with running(feishu, notes):
        odd = await feishu.happens("im.message.receive_v1", event)
        await feishu.says("ou_1", "after it")
        await until(lambda: notes.texts == ["after it"])
        await until(lambda: odd.code == 200)
        assert feishu.connection.connections == 1


async def test_an_event_in_several_frames_is_put_together(feishu: FakeFeishu) -> None:
    notes = Notebook()
    feishu.connection.split = 100
    async with running(feishu, notes):
        await feishu.says("ou_1", "长" * 500)
        await until(lambda: notes.texts == ["长" * 500])


async def test_rich_text_and_media_come_in(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes):
        picture = feishu.upload(b"\x89PNG" * 100, "image/png")
        await feishu.sends("ou_1", "image", {"image_key": picture})
        await feishu.sends("ou_1", "audio", {"file_key": feishu.upload(b"OggS", "audio/ogg"), "duration": 2000})
        await feishu.sends("ou_1", "file", {"file_key": feishu.upload(b"%PDF", "x"), "file_name": "报告.pdf"})
        await feishu.sends(
            "ou_1",
            "post",
            {
                "title": "T",
                "content": [
                    [{"tag": "text", "text": "see "}, {"tag": "a", "text": "this", "href": "http://x"}],
                    [{"tag": "img", "image_key": picture}],
                    [{"tag": "code_block", "language": "PYTHON", "text": "1"}],
                ],
            },
        )
        await feishu.sends("ou_1", "sticker", {"file_key": "s"})
        await until(lambda: len(notes.incoming) == 5)
        image, voice, file, post, sticker = notes.incoming
        assert (image.media[0].kind, voice.media[0].kind) == ("image", "voice")
        assert (file.media[0].name, file.media[0].mime) == ("报告.pdf", "application/pdf")
        assert await image.media[0].fetch(1000) == b"\x89PNG" * 100
        with pytest.raises(TooLarge):
            await image.media[0].fetch(399)
        assert post.text == "T\nsee [this](http://x)\n\n\n```python\n1\n```"
        assert len(post.media) == 1
        assert sticker.text == "[sticker]"


async def test_media_go_out_as_what_they_are(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        await channel.send(ME, Media(data=b"\x89PNG", mime="image/png", name="a.png"), nonce="a")
        await channel.send(ME, Media(data=b"OggS", mime="audio/ogg", name="a.ogg"), nonce="b")
        await channel.send(ME, Media(data=b"PK", mime="application/zip", name="a.zip", caption="here"), nonce="c")
        kinds = [m["msg_type"] for m in feishu.world.shown("oc_ou_1")]
        assert kinds == ["image", "audio", "file", "text"]
        assert feishu.visible("ou_1")[-1] == "here"


async def test_a_streaming_card_rises_in_sequence_and_is_closed(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="H"), nonce="n", final=False)
        card = next(iter(feishu.world.cards.values()))
        assert card.streaming
        for text in ("He", "Hel", "Hel", "Hello"):
            await channel.edit(ME, sent, Text(markdown=text, activity="searching"), final=False)
        await channel.edit(ME, sent, Text(markdown="Hello!"), final=True)
        await channel.edit(ME, sent, Text(markdown="Hello!"), final=True)
        assert not card.streaming
        assert feishu.visible("ou_1") == ["Hello!"]
        sequences = [b["sequence"] for m, p, b in feishu.rest.requests if "cardkit" in p and b and "sequence" in b]
        assert sequences == sorted(set(sequences))
        uuids = [b["uuid"] for m, p, b in feishu.rest.requests if "cardkit" in p and b and "uuid" in b]
        assert len(uuids) == len(set(uuids))


async def test_a_table_that_was_streamed_is_drawn_anew_at_the_end(feishu: FakeFeishu) -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="| a"), nonce="n", final=False)
        await channel.edit(ME, sent, Text(markdown=table), final=True)
        assert len([body for body in feishu.sent("PUT", "cardkit") if "card" in body]) == 1
        feishu.faults.add(Fault("cardkit/v1/cards/[^/]+$", "PUT", status=400, body={"code": 300000, "msg": "?"}))
        other = await channel.send(ME, Text(markdown="| a"), nonce="m", final=False)
        await channel.edit(ME, other, Text(markdown=table), final=True)
        assert feishu.visible("ou_1") == [table, table]


async def test_a_streaming_card_is_finished_after_a_restart(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="half an ans"), nonce="n", final=False)
    async with running(feishu, Notebook()) as channel:
        await channel.edit(ME, sent, Text(markdown="the whole answer"), final=True)
    assert feishu.visible("ou_1") == ["the whole answer"]
    assert not next(iter(feishu.world.cards.values())).streaming


async def test_a_number_that_was_used_before_a_crash_does_not_pass_for_the_new_text(feishu: FakeFeishu) -> None:
    """Numbers are made of tenths of seconds: a process that starts in the same one makes the same again."""
    now = time.time() + 10
    async with running(feishu, Notebook()) as channel:
        await channel.send(ME, Text(markdown="half"), nonce="n", final=False)
        card_id = next(iter(feishu.world.cards))
        api = FeishuApi("cli_app", SecretStr("feishu-secret"), feishu.domain)
        before, after = Cards(api, lambda: now), Cards(api, lambda: now)
        await before.write(card_id, Text(markdown="half an answer"), ME, final=False)
        await after.write(card_id, Text(markdown="the whole answer"), ME, final=True)
        await api.close()
    assert feishu.visible("ou_1") == ["the whole answer"]


async def test_a_streaming_card_that_closed_by_itself_goes_on(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="a"), nonce="n", final=False)
        card = next(iter(feishu.world.cards.values()))
        card.body["config"]["streaming_mode"] = False
        await channel.edit(ME, sent, Text(markdown="ab"), final=False)
        card.body["config"]["streaming_mode"] = False
        await channel.edit(ME, sent, Text(markdown="abc"), final=True)
        assert feishu.visible("ou_1") == ["abc"]
        assert not card.streaming


async def test_a_clock_that_was_set_back_does_not_stop_a_card(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="a"), nonce="n", final=False)
        next(iter(feishu.world.cards.values())).sequence += 40_000
        await channel.edit(ME, sent, Text(markdown="ab"), final=True)
        assert feishu.visible("ou_1") == ["ab"]


async def test_without_the_permission_for_streaming_cards_it_streams_by_patch(feishu: FakeFeishu) -> None:
    denied = {"code": 99991672, "msg": "Access denied. One of the following scopes is required"}
    async with running(feishu, Notebook()) as channel:
        feishu.faults.add(Fault("cardkit", "POST", status=400, body=denied, times=-1))
        sent = await channel.send(ME, Text(markdown="a"), nonce="n", final=False)
        await channel.edit(ME, sent, Text(markdown="ab"), final=False)
        await channel.edit(ME, sent, Text(markdown="abc"), final=True)
        await channel.send(ME, Text(markdown="x"), nonce="m", final=False)
        assert feishu.visible("ou_1") == ["abc", "x"]
        assert feishu.faults.hits == 1


async def test_a_refused_card_is_sent_as_text_and_edited_as_text(feishu: FakeFeishu) -> None:
    bad = {"code": 230099, "msg": "Failed to create card content, ext=ErrCode: 11310; table number over limit"}
    async with running(feishu, Notebook()) as channel:
        feishu.faults.add(Fault("/messages", "POST", status=400, body=bad))
        sent = await channel.send(ME, Text(markdown="|a|"), nonce="n")
        await channel.edit(ME, sent, Text(markdown="|b|"))
        assert feishu.visible("ou_1") == ["|b|"]
        assert feishu.world.shown("oc_ou_1")[0]["msg_type"] == "text"


async def test_a_final_edit_that_is_refused_is_shown_as_it_was_written(feishu: FakeFeishu) -> None:
    bad = {"code": 200621, "msg": "parse card json err"}
    async with running(feishu, Notebook()) as channel:
        inline = await channel.send(ME, Text(markdown="a"), nonce="n")
        feishu.faults.add(Fault(f"/messages/{inline}", "PATCH", status=400, body=bad))
        await channel.edit(ME, inline, Text(markdown="**b**"))
        streamed = await channel.send(ME, Text(markdown="a"), nonce="m", final=False)
        feishu.faults.add(Fault("elements/answer", "PUT", status=400, body=bad))
        feishu.faults.add(Fault(streamed.partition("/")[2], "PUT", status=400, body=bad))
        await channel.edit(ME, streamed, Text(markdown="**c**"), final=True)
        assert feishu.visible("ou_1") == ["**b**", "**c**"]


async def test_buttons_carry_their_data_and_a_tap_shows_a_note(feishu: FakeFeishu) -> None:
    asked = Text(
        markdown="may I?", buttons=((Button("Allow once", "ap:1:once", "primary"), Button("Deny", "ap:1:deny")),)
    )
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, asked, nonce="n")
    notes = Notebook()
    notes.note = "decided"
    async with running(feishu, notes) as channel:
        shown = feishu.world.shown("oc_ou_1")[0]
        value = feishu.world.buttons(shown)[0]
        push = await feishu.presses("ou_1", sent, value)
        await until(lambda: push.code == 200)
        tap = notes.taps[0]
        assert (tap.data, tap.identity.peer, tap.place.kind) == ("ap:1:once", "ou_1", "direct")
        assert push.data == {"toast": {"type": "info", "content": "decided"}}
        await channel.edit(ME, sent, Text(markdown="may I? – allowed"))
        assert feishu.world.buttons(shown) == []
    assert feishu.visible("ou_1") == ["may I? – allowed"]


async def test_reactions_are_put_and_taken_away(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        message_id = await feishu.says("ou_1", "x")
        await channel.react(ME, message_id, "👀")
        assert list(feishu.world.reactions.values()) == [(message_id, "OnIt")]
        await channel.react(ME, message_id, "")
        assert feishu.world.reactions == {}


async def test_the_first_word_of_a_private_chat_can_be_ours(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        await channel.send(Address(kind="direct", chat="ou_77"), Text(markdown="news"))
        assert feishu.visible("ou_77") == ["news"]


# ---------------------------------------------------------------- repeats


@pytest.mark.attack(64)
@pytest.mark.parametrize("final", [True, False])
async def test_a_lost_answer_is_unknown_and_the_uuid_makes_the_repeat_harmless(feishu: FakeFeishu, final: bool) -> None:
    async with running(feishu, Notebook()) as channel:
        feishu.faults.add(Fault("im/v1/messages", "POST", kind="lose_answer"))
        with pytest.raises(OutcomeUnknown):
            await channel.send(ME, Text(markdown="half"), nonce="n", final=final)
        sent = await channel.send(ME, Text(markdown="whole"), nonce="n", final=True)
        await channel.edit(ME, sent, Text(markdown="whole"))
        assert feishu.visible("ou_1") == ["whole"]
        assert not any(card.streaming for card in feishu.world.cards.values())


@pytest.mark.attack(64)
@pytest.mark.parametrize("final", [True, False])
async def test_the_same_over_a_restart(feishu: FakeFeishu, final: bool) -> None:
    async with running(feishu, Notebook()) as channel:
        feishu.faults.add(Fault("im/v1/messages", "POST", kind="lose_answer"))
        with pytest.raises(OutcomeUnknown):
            await channel.send(ME, Text(markdown="half"), nonce="n", final=False)
    for message in feishu.world.shown("oc_ou_1"):
        message["create_time"] = str(int(message["create_time"]) - 10_000)
    async with running(feishu, Notebook()) as channel:
        sent = await channel.send(ME, Text(markdown="whole"), nonce="n", final=final)
        await channel.edit(ME, sent, Text(markdown="whole"), final=True)
        assert feishu.visible("ou_1") == ["whole"]


async def test_a_dead_token_is_renewed_within_the_call(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        feishu.rest.tokens.clear()
        await asyncio.gather(*(channel.send(ME, Text(markdown=str(n))) for n in range(5)))
        assert len(feishu.visible("ou_1")) == 5
        assert len(feishu.rest.tokens) <= 5


async def test_a_token_is_asked_for_once(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        await asyncio.gather(*(channel.send(ME, Text(markdown=str(n))) for n in range(10)))
        assert len(feishu.sent("POST", "tenant_access_token")) == 1


# ---------------------------------------------------------------- the connection


@pytest.mark.parametrize("politely", [True, False])
async def test_a_lost_connection_comes_back_and_nothing_is_lost(feishu: FakeFeishu, politely: bool) -> None:
    notes = Notebook()
    async with running(feishu, notes) as channel:
        await feishu.connection.drop(politely=politely)
        await feishu.says("ou_1", "while away")
        await until(lambda: notes.texts == ["while away"])
        assert channel.state.state == "ready"
        assert feishu.connection.connections == 2


async def test_pings_go_at_the_pace_that_the_server_sets(feishu: FakeFeishu) -> None:
    feishu.connection.ping_seconds = 0.05
    async with running(feishu, Notebook()):
        await until(lambda: feishu.connection.pings >= 3)


async def test_a_half_open_connection_is_noticed(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes, silence_seconds=0.3) as channel:
        feishu.connection.sockets[0]._autoping = False
        await until(lambda: feishu.connection.connections >= 2)
        await feishu.says("ou_1", "hello?")
        await until(lambda: "hello?" in notes.texts)
        assert channel.state.state == "ready"


@pytest.mark.attack(62)
async def test_an_outage_degrades_the_channel_which_heals_by_itself(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes) as channel:
        await feishu.stop()
        await until(lambda: channel.state.state == "degraded")
        with pytest.raises(ChannelUnavailable):
            await channel.send(ME, Text(markdown="x"))
        await feishu.start()
        await until(lambda: channel.state.state == "ready")
        await feishu.says("ou_1", "back")
        await until(lambda: notes.texts == ["back"])


async def test_too_many_connections_is_tried_again(feishu: FakeFeishu) -> None:
    feishu.connection.full = True
    channel = made(feishu, Notebook())
    await channel.start()
    task = asyncio.create_task(channel.run())
    await until(lambda: "1000040350" in channel.state.reason)
    feishu.connection.full = False
    await until(lambda: channel.state.state == "ready")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await channel.stop()


@pytest.mark.attack(62)
async def test_a_tls_failure_is_unavailable(feishu: FakeFeishu) -> None:
    channel = made(feishu, Notebook(), domain=feishu.domain.replace("http:", "https:"))
    with pytest.raises(ChannelUnavailable):
        await channel.start()
    await channel.stop()


@pytest.mark.attack(62)
async def test_a_wrong_secret_is_said_clearly_and_never_shown(feishu: FakeFeishu) -> None:
    channel = made(feishu, Notebook(), app_secret="secret-canary")
    with pytest.raises(ChannelAuthFailed) as caught:
        await channel.start()
    assert "app_secret" in caught.value.reason
    assert "secret-canary" not in str(caught.value)
    await channel.stop()


@pytest.mark.attack(62)
@pytest.mark.parametrize("mode", ["websocket", "webhook"])
async def test_a_secret_that_is_withdrawn_while_running_ends_the_run(
    feishu: FakeFeishu, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The long connection stays up and nothing comes in to be answered: whoever looks shall see it all the same."""
    monkeypatch.setattr("channels.feishu.channel.LOOK_SECONDS", 0.05, raising=False)
    keys = {"encrypt_key": "e", "verification_token": "v"} if mode == "webhook" else {}
    channel = made(feishu, Notebook(), mode=mode, **keys)
    await channel.start()
    running = asyncio.create_task(channel.run())
    try:
        await until(lambda: channel.state.state == "ready")
        feishu.faults.add(Fault("bot/v3/info", "GET", status=503))
        await asyncio.sleep(0.1)
        assert not running.done()
        feishu.rest.app_secret = "another"
        feishu.rest.tokens.clear()
        async with asyncio.timeout(5):
            with pytest.raises(ChannelAuthFailed):
                await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await channel.stop()


# ---------------------------------------------------------------- refusals


@pytest.mark.attack(62)
async def test_a_rate_limit_is_handed_up_with_its_time(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        body, headers = rate_limit(7)
        feishu.faults.add(Fault("im/v1/messages", "POST", status=429, body=body, headers=headers))
        with pytest.raises(RateLimited) as caught:
            await channel.send(ME, Text(markdown="x"))
        assert caught.value.retry_after == 7.0
        feishu.faults.add(Fault("im/v1/messages", "POST", status=400, body={"code": 230020, "msg": "frequency limit"}))
        with pytest.raises(RateLimited):
            await channel.send(ME, Text(markdown="x"))


@pytest.mark.attack(63)
async def test_permanent_refusals_take_one_attempt(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        with pytest.raises(DeliveryRejected, match="230002"):
            await channel.send(Address(kind="group", chat="oc_unknown"), Text(markdown="x"))
        assert len(feishu.sent("POST", "im/v1/messages")) == 1
        sent = await channel.send(ME, Text(markdown="x"))
        await channel.delete(ME, sent)
        with pytest.raises(MessageGone):
            await channel.edit(ME, sent, Text(markdown="y"))


async def test_a_reply_to_a_message_that_is_gone_is_sent_without_it(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        await channel.send(ME, Text(markdown="anyway"), reply_to="om_gone")
        assert feishu.visible("ou_1") == ["anyway"]


async def test_a_channel_that_was_closed_says_so(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        pass
    with pytest.raises(ChannelUnavailable):
        await channel.send(ME, Text(markdown="x"))


async def test_a_server_error_is_unavailable(feishu: FakeFeishu) -> None:
    async with running(feishu, Notebook()) as channel:
        feishu.faults.add(Fault("im/v1/messages", "POST", status=502))
        with pytest.raises(ChannelUnavailable):
            await channel.send(ME, Text(markdown="x"))
        assert json.dumps(feishu.visible("ou_1")) == "[]"


async def test_a_server_that_never_shakes_hands_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.feishu.connection.REQUEST_SECONDS", 0.1)
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    api = FeishuApi("app", SecretStr("secret"), None)
    connection = Connection(api, "secret", lambda *_: None, lambda *_: None)
    try:
        with pytest.raises(ChannelError):
            async with asyncio.timeout(5):
                await connection._hold(f"ws://127.0.0.1:{port}/?service_id=1", 1.0)
    finally:
        await api.close()
        for writer in writers:
            writer.close()
        silent.close()


async def test_an_answer_in_a_thread_stays_there_when_the_message_it_answers_is_recalled(feishu: FakeFeishu) -> None:
    notes = Notebook()
    async with running(feishu, notes) as channel:
        await feishu.says("ou_1", "the beginning", chat="oc_g", thread_id="omt_1")
        asked = await feishu.says("ou_1", "@_user_1 and?", chat="oc_g", thread_id="omt_1", mentions=[mention("ou_bot")])
        await until(lambda: len(notes.incoming) == 2)
        del feishu.world.messages[asked]
        there = Address(kind="group", chat="oc_g", thread="omt_1")
        await channel.send(there, Text(markdown="this"), reply_to=asked, nonce="n1")
        await channel.send(there, Text(markdown="and that"), nonce="n2")
        assert [m.get("thread_id") for m in feishu.world.shown("oc_g")] == ["omt_1", "omt_1"]
