"""The Discord adapter against a server that behaves as Discord does: in, out, and what breaks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from bus.commands import COMMANDS
from bus.context import id_time, new_id
from bus.errors import TooLarge
from channels.base import Address, Button, Media, Text
from channels.discord.channel import DiscordChannel
from channels.errors import (
    ChannelAuthFailed,
    ChannelUnavailable,
    DeliveryRejected,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)
from channels.settings import DiscordSettings
from tests.channels.notebook import Notebook, Shelf, connected, until
from tests.fakes.discord_rest import rate_limit
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.discord_world import snowflake, user
from tests.fakes.faults import Fault

ME = Address(kind="direct", chat="42")


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as fake:
        fake.world.guild("50")
        fake.world.channel("60", guild="50")
        fake.world.channel("61", guild="50", parent="60")
        yield fake


def running(fake: FakeDiscord, notes: Notebook, **more: Any) -> AbstractAsyncContextManager[DiscordChannel]:
    """The adapter, connected."""
    return connected(made(fake, notes, **more))


def made(
    fake: FakeDiscord, notes: Notebook, *, token: str = "discord-token", notes_kept: Shelf | None = None,
    groups: dict[str, Any] | None = None, silence_seconds: float = 60.0,
) -> DiscordChannel:  # fmt: skip
    settings = DiscordSettings.model_validate({"token": token, "api_url": fake.api_url, "groups": groups or {}})
    return DiscordChannel(settings, notes, silence_seconds=silence_seconds)


async def test_a_private_message_comes_in_and_an_answer_goes_out(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        message_id = await discord.says("42", "hello")
        await until(lambda: notes.incoming)
        got = notes.incoming[0]
        assert (got.text, got.key, got.message_id, got.addressed) == ("hello", message_id, message_id, True)
        assert str(got.identity) == "discord:900:42"
        assert (got.place.kind, got.place.chat) == ("direct", "42")
        assert channel.session_of(got).text == "agent:main:discord:direct:42"
        sent = await channel.send(ME, Text(markdown="**hi**"), reply_to=message_id, nonce="n1")
        await channel.edit(ME, sent, Text(markdown="**hi** there"))
        assert discord.visible("42") == ["**hi** there"]
        shown = discord.world.shown("7042")[0]
        assert shown["message_reference"]["message_id"] == message_id
        assert shown["allowed_mentions"] == {"parse": []}


@pytest.mark.attack(23)
@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("MESSAGE_CREATE", {"id": "1"}), ("MESSAGE_UPDATE", {}), ("GUILD_CREATE", {"id": "5", "channels": [7]}),
        ("GUILD_CREATE", {"id": "5", "roles": [{"tags": 3}]}), ("THREAD_CREATE", []),
        ("INTERACTION_CREATE", {"id": "2"}),
    ],
)  # fmt: skip
async def test_an_event_without_shape_costs_nothing_but_itself(discord: FakeDiscord, event: str, data: Any) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        since = channel.state.since
        await discord.gateway.dispatch(event, data)
        await discord.says("42", "after it")
        await until(lambda: notes.texts == ["after it"])
        assert (channel.state.state, channel.state.since) == ("ready", since)


async def test_private_messages_can_be_begun_by_the_assistant(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        await channel.send(Address(kind="direct", chat="77"), Text(markdown="news"))
        assert discord.visible("77") == ["news"]


async def test_who_ever_wrote_is_not_remembered_for_ever(discord: FakeDiscord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers too, for as long as the process lives; an answer to somebody forgotten finds its way all the same."""
    monkeypatch.setattr("channels.discord.people.MOST", 3)
    notes = Notebook()
    async with running(discord, notes) as channel:
        for person in range(80, 90):
            await discord.says(str(person), "hello")
        await until(lambda: len(notes.incoming) == 10)
        assert len(channel._intake.private) == 3
        await channel.send(Address(kind="direct", chat="80"), Text(markdown="news"))
        assert discord.visible("80") == ["news"]


async def test_guild_channels_are_groups_and_threads_follow_their_parent(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await discord.says("42", "just talking", channel="60")
        await discord.says("42", "<@900> what is it?", channel="60", mentions=[discord.world.bot])
        await discord.says("42", "<@900> in here", channel="61", mentions=[discord.world.bot])
        await until(lambda: len(notes.incoming) == 3)
        plain, asked, threaded = sorted(notes.incoming, key=lambda i: int(i.key))
        assert not plain.addressed
        assert (asked.addressed, asked.text) == (True, "what is it?")
        assert channel.session_of(asked).text == "agent:main:discord:group:60"
        assert channel.session_of(threaded).text == "agent:main:discord:group:60:thread:61"
        assert (threaded.place.chat, threaded.place.parent) == ("61", "60")
        await channel.send(Address(kind="group", chat="60", thread="61"), Text(markdown="here too"))
        assert discord.visible(channel="61") == ["here too"]


async def test_a_channel_that_nobody_told_of_and_that_cannot_be_asked_for_stands_for_itself(
    discord: FakeDiscord,
) -> None:
    notes = Notebook()
    async with running(discord, notes):
        discord.faults.add(Fault("/channels/", "GET", status=404, body={"message": "?", "code": 10003}, times=-1))
        discord.world.channel("9001", guild="51")
        await discord.says("42", "in a guild", channel="9001")
        await discord.says("42", "in private")
        await until(lambda: len(notes.incoming) == 2)
        assert sorted((i.place.kind, i.place.chat) for i in notes.incoming) == [("direct", "42"), ("group", "9001")]


async def test_a_reply_to_us_a_role_and_a_command_are_being_spoken_to_but_everyone_is_not(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        ours = await channel.send(Address(kind="group", chat="60"), Text(markdown="I said this"))
        replied = {"id": ours, "content": "I said this", "author": discord.world.bot}
        await discord.says("42", "and then?", channel="60", type=19, referenced_message=replied)
        await discord.says("42", "<@&850> role", channel="60", mention_roles=["850"])
        await discord.says("42", "/status", channel="60")
        await discord.says("42", "@everyone", channel="60", mention_everyone=True)
        await until(lambda: len(notes.incoming) == 4)
        assert [i.addressed for i in notes.incoming] == [True, True, True, False]
        assert notes.incoming[0].quoted == "I said this"
        assert notes.incoming[1].text == "role"


@pytest.mark.attack(60)
async def test_our_own_messages_are_silent_and_bots_are_named_as_such(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await channel.send(Address(kind="group", chat="60"), Text(markdown="mine"))
        await discord.says("666", "<@900> loop", channel="60", author=user("666", "other", bot=True))
        await discord.says("667", "<@900> hook", channel="60", webhook_id="667")
        await until(lambda: len(notes.incoming) == 2)
        assert all(i.identity.bot for i in notes.incoming)


@pytest.mark.attack(59)
async def test_edits_joins_and_reactions_come_with_their_person(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes):
        message_id = await discord.says("42", "frist")
        await discord.edits(message_id, "first")
        await discord.says("43", "", channel="60", type=7)
        await discord.gateway.dispatch("MESSAGE_REACTION_ADD", {
            "user_id": "44", "channel_id": "60", "message_id": message_id, "guild_id": "50", "emoji": {"name": "👍"},
            "member": {"user": user("44")}})  # fmt: skip
        await until(lambda: len(notes.incoming) == 2 and len(notes.reactions) == 2)
        edit = notes.incoming[1]
        assert (edit.text, edit.edits) == ("first", message_id)
        assert edit.key != message_id
        assert {r.identity.peer for r in notes.reactions} == {"43", "44"}


async def test_a_preview_of_a_link_is_no_edit(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes):
        message_id = await discord.says("42", "see http://x")
        message = discord.world.find("7042", message_id)
        assert message is not None
        await discord.gateway.dispatch("MESSAGE_UPDATE", {**message, "embeds": [{"url": "http://x"}]})
        await discord.says("42", "after")
        await until(lambda: len(notes.incoming) == 2)
        assert notes.texts == ["see http://x", "after"]


async def test_media_both_ways_and_the_limit_is_kept_while_downloading(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await discord.uploads("42", b"\x89PNG" * 100, name="cat.png", mime="image/png", text="look")
        await discord.uploads("42", b"OggS", name="voice-message.ogg", mime="audio/ogg", flags=1 << 13)
        await until(lambda: len(notes.incoming) == 2)
        picture, voice = notes.incoming[0].media[0], notes.incoming[1].media[0]
        assert (picture.kind, picture.mime, picture.name, picture.size) == ("image", "image/png", "cat.png", 400)
        assert voice.kind == "voice"
        assert await picture.fetch(1000) == b"\x89PNG" * 100
        with pytest.raises(TooLarge):
            await picture.fetch(399)
        await channel.send(ME, Media(data=b"PK", mime="application/zip", name="../a.zip", caption="here"), nonce="f")
        shown = discord.world.shown("7042")[-1]
        assert shown["content"] == "here"
        assert shown["attachments"][0]["filename"] == ".._a.zip"


async def test_a_slash_command_of_the_menu_is_a_message(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await channel.set_commands(COMMANDS)
        assert {c["name"] for c in discord.rest.commands} == {c.name for c in COMMANDS}
        assert all(len(c["description"]) <= 100 for c in discord.rest.commands)
        token = await discord.invokes("42", "mode", channel="60", options={"text": "fast"})
        await until(lambda: notes.incoming)
        got = notes.incoming[0]
        assert (got.text, got.addressed, got.place.chat) == ("/mode fast", True, "60")
        await until(lambda: ("DELETE", f"webhooks/900/{token}/messages/@original", None) in discord.rest.requests)
        assert discord.rest.interactions[token]["answers"] == [{"type": 5, "data": {"flags": 64}}]


async def test_buttons_carry_their_data_over_a_restart_and_go_with_an_edit(discord: FakeDiscord) -> None:
    asked = Text(
        markdown="may I?", buttons=((Button("Allow once", "ap:1:once", "primary"), Button("Deny", "ap:1:deny")),)
    )
    async with running(discord, Notebook()) as channel:
        message_id = await channel.send(ME, asked)
    notes = Notebook()
    async with running(discord, notes) as channel:
        token = await discord.presses("42", message_id, "ap:1:once")
        await until(lambda: notes.taps)
        tap = notes.taps[0]
        assert (tap.data, tap.message_id, tap.identity.peer) == ("ap:1:once", message_id, "42")
        await tap.tell("not yours")
        await tap.tell("")
        assert [e["content"] for e in discord.rest.ephemeral] == ["not yours"]
        assert discord.rest.interactions[token]["answers"] == [{"type": 6}]
        await channel.edit(ME, message_id, Text(markdown="may I? – allowed"))
        assert discord.world.shown("7042")[0]["components"] == []
    assert discord.visible("42") == ["may I? – allowed"]


async def test_a_tap_that_cannot_be_acknowledged_in_time_counts(discord: FakeDiscord) -> None:
    """Discord waits three seconds; what was pressed was meant all the same."""
    notes = Notebook()
    async with running(discord, notes) as channel:
        buttons = ((Button("Allow", "ap:token:o"),),)
        message = await channel.send(ME, Text(markdown="may I?", buttons=buttons))
        late = {"message": "Unknown interaction", "code": 10062}
        discord.faults.add(Fault("/callback$", "POST", status=404, body=late))
        await discord.presses("42", message, "ap:token:o")
        await until(lambda: notes.taps)
        assert notes.taps[0].data == "ap:token:o"


async def test_typing_and_reactions(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        message_id = await discord.says("42", "x")
        await channel.typing(ME)
        await channel.react(ME, message_id, "👀")
        assert discord.world.typing == ["7042"]
        assert discord.world.reactions == [(message_id, "👀")]
        await channel.react(ME, message_id, "")
        assert discord.world.reactions == []


# ---------------------------------------------------------------- gaps


@pytest.mark.attack(55)
async def test_what_was_said_while_away_is_taken_in_after_a_restart(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "one")
        await until(lambda: notes.incoming)
    await discord.says("42", "two")
    await discord.says("42", "three")
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await discord.says("42", "four")
        await until(lambda: "four" in again.texts)
        assert list(dict.fromkeys(again.texts)) == ["two", "three", "four"]
        assert len({i.key for i in again.incoming}) == 3


async def test_a_long_absence_is_read_page_by_page(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "first")
        await until(lambda: notes.incoming)
    for number in range(130):
        discord.world.add("7042", user("42"), f"missed {number}")
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: len(again.incoming) == 130)
        assert again.texts == [f"missed {number}" for number in range(130)]


async def test_an_odd_message_in_the_history_hides_no_later_one(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "first")
        await until(lambda: notes.incoming)
    discord.world.add("7042", user("42"), "odd").pop("author")
    discord.world.add("7042", user("42"), "even")
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: again.texts == ["even"])


async def test_what_a_channel_is_is_asked_again_after_trouble(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes):
        thread = discord.world.channel(snowflake(), guild="50", parent="60")["id"]
        discord.faults.add(Fault(f"/channels/{thread}$", "GET", status=500))
        await discord.says("42", "<@900> in a thread that nobody told of", channel=thread)
        await until(lambda: notes.incoming)
        assert notes.incoming[0].thread == thread


async def test_a_listed_group_where_nothing_was_read_yet_is_looked_back_at_too(
    discord: FakeDiscord,
) -> None:
    shelf = Shelf()
    async with running(discord, Notebook(notes=shelf), groups={"60": {}}):
        await until(lambda: discord.gateway.connected)
        await asyncio.sleep(0.05)
    await discord.says("42", "<@900> anyone?", channel="60")
    notes = Notebook(notes=shelf)
    async with running(discord, notes, groups={"60": {}}):
        await until(lambda: notes.incoming)
        assert notes.incoming[0].place.chat == "60"


async def test_what_was_missed_in_one_of_very_many_channels_is_no_private_message(
    discord: FakeDiscord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all places are remembered; where one is looked back at, the mark tells what place it is."""
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "in a guild", channel="60")
        await until(lambda: notes.incoming)
    await discord.says("42", "meanwhile", channel="60")
    await discord.says("42", "and there", channel="61")
    monkeypatch.setattr("channels.discord.intake._PLACES", 0)
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: again.incoming)
        assert [(i.text, i.place.kind, i.place.chat) for i in again.incoming] == [("meanwhile", "group", "60")]


async def test_a_thread_that_began_while_away_is_read_from_its_beginning(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes, groups={"60": {}}):
        await discord.says("42", "before", channel="60")
        await until(lambda: notes.incoming)
    thread = discord.world.channel(snowflake(), guild="50", parent="60")["id"]
    await discord.says("42", "<@900> in a new thread", channel=thread)
    again = Notebook(notes=shelf)
    async with running(discord, again, groups={"60": {}}):
        await until(lambda: again.incoming)
        assert (again.incoming[0].thread, again.incoming[0].place.parent) == (thread, "60")


async def test_the_first_word_of_a_person_survives_a_crash_before_it_is_durable(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        notes.hold.clear()
        await discord.says("42", "my first word")
        await until(lambda: shelf)
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: again.texts == ["my first word"])


async def test_what_comes_while_the_gateway_drains_is_read_after_the_restart(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes) as channel:
        await channel.pause()
        await discord.says("42", "too late for today")
        await asyncio.sleep(0.05)
        assert notes.incoming == []
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: again.texts == ["too late for today"])


async def test_a_history_that_cannot_be_read_yet_is_waited_for(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "one")
        await until(lambda: notes.incoming)
    await discord.says("42", "two")
    body, headers = rate_limit(1.2)
    discord.faults.add(Fault("messages", "GET", status=429, body=body, headers=headers))
    discord.faults.add(Fault("messages", "GET", status=503))
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await discord.says("42", "three")
        await until(lambda: again.texts[-1:] == ["three"])
        assert list(dict.fromkeys(again.texts)) == ["two", "three"]


async def test_what_was_not_durable_yet_is_fetched_again(discord: FakeDiscord) -> None:
    shelf = Shelf()
    notes = Notebook(notes=shelf)
    async with running(discord, notes):
        await discord.says("42", "kept")
        await until(lambda: notes.incoming)
        notes.hold.clear()
        await discord.says("42", "in the air")
        await asyncio.sleep(0.05)
    again = Notebook(notes=shelf)
    async with running(discord, again):
        await until(lambda: again.texts == ["in the air"])


@pytest.mark.parametrize("how", ["drop", "cut", "ask_to_reconnect"])
async def test_a_lost_socket_is_resumed_and_nothing_is_lost(discord: FakeDiscord, how: str) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await getattr(discord.gateway, how)()
        if how != "ask_to_reconnect":
            await discord.says("42", "while away")
        await until(lambda: "resume" in discord.gateway.log and channel.state.state == "ready")
        await discord.says("42", "back")
        await until(lambda: "back" in notes.texts)
        assert notes.texts == (["while away", "back"] if how != "ask_to_reconnect" else ["back"])
        assert discord.gateway.log.count("identify") == 1


async def test_a_forgotten_session_begins_anew_and_looks_back(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes):
        await discord.says("42", "one")
        await until(lambda: notes.incoming)
        sessions = discord.gateway.sessions
        discord.gateway.sessions = {}
        await discord.says("42", "said to nobody")
        discord.gateway.sessions = sessions
        await discord.gateway.forget()
        await until(lambda: discord.gateway.log.count("identify") == 2)
        await until(lambda: notes.texts[1:] == ["said to nobody"])


async def test_a_silent_socket_is_noticed_and_replaced(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes, silence_seconds=0.6):
        discord.gateway.deaf = True
        await asyncio.sleep(0.7)
        discord.gateway.deaf = False
        await until(lambda: discord.gateway.log.count("identify") + discord.gateway.log.count("resume") >= 2)
        await discord.says("42", "hello?")
        await until(lambda: "hello?" in notes.texts)


@pytest.mark.attack(62)
async def test_an_outage_degrades_the_channel_which_heals_by_itself(discord: FakeDiscord) -> None:
    notes = Notebook()
    async with running(discord, notes) as channel:
        await discord.stop()
        await until(lambda: channel.state.state == "degraded")
        assert "gateway" in channel.state.reason
        with pytest.raises(ChannelUnavailable):
            await channel.send(ME, Text(markdown="x"))
        await discord.says("42", "into the dark")
        await discord.start()
        await until(lambda: channel.state.state == "ready")
        await until(lambda: notes.texts == ["into the dark"])


# ---------------------------------------------------------------- refusals


@pytest.mark.attack(62)
async def test_a_wrong_token_is_said_clearly_and_never_shown(discord: FakeDiscord) -> None:
    channel = made(discord, Notebook(), token="secret-canary")
    with pytest.raises(ChannelAuthFailed) as caught:
        await channel.start()
    assert "token" in caught.value.reason
    assert "secret-canary" not in str(caught.value)
    await channel.stop()


async def test_a_missing_privileged_intent_is_said_clearly(discord: FakeDiscord) -> None:
    discord.gateway.content_allowed = False
    with pytest.raises(ChannelAuthFailed, match="Message Content Intent"):
        async with running(discord, Notebook()):
            pass


async def test_a_token_revoked_while_running_ends_the_run(discord: FakeDiscord) -> None:
    notes = Notebook()
    channel = made(discord, notes)
    await channel.start()
    task = asyncio.create_task(channel.run())
    await until(lambda: channel.state.state == "ready")
    discord.gateway.token = "another"
    await discord.gateway.drop(4004)
    with pytest.raises(ChannelAuthFailed):
        await asyncio.wait_for(task, 5)
    await channel.stop()


@pytest.mark.attack(62)
async def test_a_tls_failure_is_unavailable(discord: FakeDiscord) -> None:
    settings = DiscordSettings.model_validate({"token": "t", "api_url": discord.api_url.replace("http:", "https:")})
    channel = DiscordChannel(settings, Notebook())
    with pytest.raises(ChannelUnavailable):
        await channel.start()
    await channel.stop()


async def test_an_unreachable_server_is_unavailable(discord: FakeDiscord) -> None:
    await discord.stop()
    channel = made(discord, Notebook())
    with pytest.raises(ChannelUnavailable):
        await channel.start()
    await channel.stop()


@pytest.mark.attack(62)
async def test_a_rate_limit_is_handed_up_with_its_time_and_nothing_sleeps(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        await channel.send(ME, Text(markdown="warm"))
        body, headers = rate_limit(7.5)
        discord.faults.add(Fault("messages", "POST", status=429, body=body, headers=headers))
        started = asyncio.get_running_loop().time()
        with pytest.raises(RateLimited) as caught:
            await channel.send(ME, Text(markdown="x"))
        assert caught.value.retry_after == 7.5
        discord.faults.add(Fault("messages", "POST", status=429, body={}, headers={"Retry-After": "33"}))
        with pytest.raises(RateLimited) as caught:
            await channel.send(ME, Text(markdown="x"))
        assert caught.value.retry_after == 33.0
        assert asyncio.get_running_loop().time() - started < 1.0
        assert discord.visible("42") == ["warm"]


@pytest.mark.attack(64)
async def test_a_lost_answer_is_unknown_and_the_nonce_makes_the_repeat_harmless(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        discord.faults.add(Fault("messages", "POST", kind="lose_answer"))
        with pytest.raises(OutcomeUnknown):
            await channel.send(ME, Text(markdown="half"), nonce="a-nonce-that-is-longer-than-twenty-five")
        message_id = await channel.send(ME, Text(markdown="whole"), nonce="a-nonce-that-is-longer-than-twenty-five")
        await channel.edit(ME, message_id, Text(markdown="whole"))
        assert discord.visible("42") == ["whole"]


@pytest.mark.attack(63)
async def test_permanent_refusals(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        with pytest.raises(DeliveryRejected, match="50035"):
            await channel.send(ME, Text(markdown="x" * 2001))
        sent = await channel.send(ME, Text(markdown="x"))
        await channel.delete(ME, sent)
        with pytest.raises(MessageGone):
            await channel.edit(ME, sent, Text(markdown="y"))
        with pytest.raises(DeliveryRejected):
            await channel.send(Address(kind="group", chat="999"), Text(markdown="x"))
        discord.faults.add(
            Fault("messages", "POST", status=403, body={"message": "Cannot send messages", "code": 50007})
        )
        with pytest.raises(DeliveryRejected, match="50007"):
            await channel.send(ME, Text(markdown="x"))


async def test_a_channel_that_was_closed_says_so(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        pass
    with pytest.raises(ChannelUnavailable):
        await channel.send(ME, Text(markdown="x"))


async def test_a_reply_to_a_message_that_is_gone_is_sent_without_it(discord: FakeDiscord) -> None:
    async with running(discord, Notebook()) as channel:
        await channel.send(ME, Text(markdown="anyway"), reply_to="123")
        assert discord.visible("42") == ["anyway"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_is_unavailable_at_once(discord: FakeDiscord, status: int) -> None:
    async with running(discord, Notebook()) as channel:
        discord.faults.add(Fault("messages", "POST", status=status))
        started = asyncio.get_running_loop().time()
        with pytest.raises(ChannelUnavailable, match=str(status)):
            await channel.send(ME, Text(markdown="x"))
        assert asyncio.get_running_loop().time() - started < 0.5


@pytest.mark.attack(64)
async def test_after_a_long_outage_the_history_tells_what_was_sent(discord: FakeDiscord) -> None:
    """Discord remembers a nonce for minutes only."""
    long_ago = old_id(seconds=1800)
    async with running(discord, Notebook()) as channel:
        asked = await discord.says("42", "question")
        half = await channel.send(ME, Text(markdown="The ans"), reply_to=asked, nonce=long_ago)
        discord.world.nonces.clear()
        again = await channel.send(ME, Text(markdown="The answer"), reply_to=asked, nonce=long_ago)
        assert again == half
        await channel.edit(ME, again, Text(markdown="The answer"))
        other = await channel.send(ME, Text(markdown="Another"), reply_to=asked, nonce=old_id(seconds=1700))
        assert other != half
        assert discord.visible("42") == ["The answer", "Another"]


def old_id(*, seconds: float) -> str:
    """An id as it was made some time ago."""
    fresh = new_id("dlv")
    assert abs((id_time(fresh) or 0) - time.time()) < 1
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    number = sum(digits.index(c) << 5 * n for n, c in enumerate(reversed(fresh[-25:]))) - (int(seconds * 1000) << 80)
    return "".join(digits[number >> 5 * n & 31] for n in reversed(range(25)))
