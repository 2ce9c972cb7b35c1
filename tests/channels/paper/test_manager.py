"""The middle of the channels: turns from elsewhere, notices, links, refusals, a full disk."""

import asyncio
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bus.errors import Overloaded, RateLimited
from bus.events import (
    AgentNote,
    ChatDelta,
    InboundMessage,
    ToolProgress,
    ToolStarted,
)
from bus.keys import SessionKey, default_key, direct_key
from channels.items import Turn
from channels.ledger import Ledger
from channels.ports import Identity, Place
from channels.websocket import WebSocketChannel
from gateway.identity.document import Document
from gateway.identity.preferences import Preferences
from tests.channels.paper.platform import PaperPlatform, elsewhere, shown
from tests.channels.rig import Rig, until
from tests.channels.rig import Turn as Scripted

ECHO = "🖥 **From another client:**\n> from the browser"


async def test_a_turn_begun_by_another_client_is_answered_in_the_chat(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("hello")
    await shown(paper, "You said: hello")
    await rig.bus.submit(elsewhere(rig, direct_key("paper", "42")))
    await shown(paper, "You said: hello", ECHO, "You said: from the browser")


async def test_the_echo_is_in_the_language_of_who_spoke_last_after_a_restart_too(
    paper: PaperPlatform, rig: Rig
) -> None:
    rig.gate._preferences = Preferences(Document(rig.folder / "preferences.json"))
    rig.gate._preferences.choose_language("paper-42", "zh")
    await paper.person_says("你好")
    await shown(paper, "You said: 你好")
    zh = "🖥 **来自其他客户端：**\n> from the browser"
    await rig.bus.submit(elsewhere(rig, direct_key("paper", "42")))
    await shown(paper, "You said: 你好", zh, "You said: from the browser")
    await rig.crash()
    await rig.start()
    await rig.ready("paper")
    again = replace(elsewhere(rig, direct_key("paper", "42")), message_id="msg_2", idempotency_key="k2")
    await rig.bus.submit(again)
    await shown(paper, "You said: 你好", zh, "You said: from the browser", zh, "You said: from the browser")


async def test_what_a_reminder_is_about_stands_before_it_without_a_sender(paper: PaperPlatform, rig: Rig) -> None:
    due = replace(elsewhere(rig, direct_key("paper", "42")), text="⏰ drink water", origin="")
    await rig.bus.submit(due)
    await shown(paper, "> ⏰ drink water", "You said: ⏰ drink water")


async def test_what_becomes_context_in_a_group_is_not_echoed(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("lunch at noon", person="7", group="room-1")
    await until(lambda: rig.agent.messages)
    await paper.person_says("when?", group="room-1", mentioned=True)
    await shown(paper, "You said: when?", group="room-1")


async def test_sessions_of_other_channels_and_private_texts_are_not_shown(paper: PaperPlatform, rig: Rig) -> None:
    await rig.bus.submit(elsewhere(rig, default_key("paper-42")))
    await rig.bus.submit(elsewhere(rig, SessionKey("agent:main:paper:direct:42", scope="mallory"), user="mallory"))
    await asyncio.sleep(0.2)
    assert await paper.visible() == []


async def test_a_person_who_is_too_fast_is_told_and_nothing_is_offered_again(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.refuse = [RateLimited("slow down", retry_after_ms=7000)]
    await paper.person_says("hello")
    await shown(paper, "⏳ Too many messages. Try again in 7 s.")
    await until(lambda: paper.office.letters == [])
    assert rig.agent.messages == []


async def test_a_full_session_is_told_when_others_get_through(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.inbound.PATIENCE_SECONDS", 0.2)
    accept = rig.agent.accept

    async def picky(message: InboundMessage) -> Any:
        if message.text == "full":
            raise Overloaded("queue full", retry_after_ms=10)
        return await accept(message)

    rig.bus._acceptor = picky
    host = rig.manager.host("paper")
    assert host is not None and host.channel is not None
    channel = host.channel
    await paper.person_says("fine", group="room-1", mentioned=True)
    await shown(paper, "You said: fine", group="room-1")
    taken = asyncio.gather(*(_say(rig, channel, text) for text in ("full", "one")), return_exceptions=True)
    await asyncio.sleep(0.3)
    await _say(rig, channel, "two")
    await taken
    await until(lambda: "one" in rig.agent.texts and "two" in rig.agent.texts)
    async with asyncio.timeout(5):
        while not any("could not take this message" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)


async def _say(rig: Rig, channel: Any, text: str) -> None:
    from channels.base import Incoming

    await channel.receive(
        Incoming(
            key=text,
            identity=Identity(channel="paper", account="office", peer="42"),
            place=Place(channel="paper", account="office", kind="direct", chat="42"),
            text=text,
            message_id=text,
            at=0,
        )
    )


async def test_a_stranger_may_link_himself_with_a_code(paper: PaperPlatform, rig: Rig) -> None:
    code = rig.links.offer("alice", time.time())["code"]
    await paper.person_says(f"/link {code}", person="666")
    async with asyncio.timeout(5):
        while await paper.visible(person="666") != ["🔗 This account now belongs to alice."]:
            await asyncio.sleep(0.01)
    await paper.person_says("hello", person="666")
    await until(lambda: rig.agent.messages)
    assert rig.agent.messages[0].actor.user == "alice"


async def test_a_wrong_link_code_is_met_as_any_stranger(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("/link AAAA-AAAA", person="666")
    async with asyncio.timeout(5):
        while not any("pair approve" in text for text in await paper.visible(person="666")):
            await asyncio.sleep(0.01)
    assert rig.agent.messages == []


async def test_what_tools_and_sub_agents_do_is_beside_the_text_and_gone_in_the_end(
    paper: PaperPlatform, rig: Rig
) -> None:
    seen: set[str] = set()

    async def work(turn: Scripted) -> None:
        turn.say("Looking. ")
        turn.publish(ToolStarted, call_id="c", name="fs_read_file", arguments={})
        turn.publish(ToolProgress, call_id="c", progress=1, message="half way")
        await asyncio.sleep(0.6)
        seen.update(await paper.visible())
        turn.publish(AgentNote, agent="researcher", state="reading")
        await asyncio.sleep(0.4)
        seen.update(await paper.visible())
        turn.say("Found.")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    await shown(paper, "Looking. Found.")
    assert any("fs_read_file – half way" in text for text in seen)
    assert any("🧭 researcher: reading" in text for text in seen)


async def test_the_channels_file_cannot_be_written(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message isn't accepted while its turn can't be kept; what goes out still goes."""
    original = Ledger.open_turn
    broken = True

    async def full(self: Ledger, channel: str, turn: Turn) -> None:
        if broken:
            raise sqlite3.OperationalError("database or disk is full")
        await original(self, channel, turn)

    monkeypatch.setattr(Ledger, "open_turn", full)
    await paper.person_says("hello")
    await asyncio.sleep(0.3)
    assert rig.agent.messages == []
    assert paper.office.letters
    broken = False
    await shown(paper, "You said: hello")


async def test_events_of_a_mistaken_kind_do_not_reach_the_publisher(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("hello")
    await shown(paper, "You said: hello")
    rig.bus.publish(ChatDelta(direct_key("paper", "42"), "m", 1, None))
    await paper.person_says("again")
    await shown(paper, "You said: hello", "You said: again")


async def test_websocket_clients_get_every_event_at_once(tmp_path: Path) -> None:
    from bus.message_bus import MemoryBus

    class Hub:
        def __init__(self) -> None:
            self.events: list[Any] = []

        def deliver(self, event: Any) -> None:
            self.events.append(event)

    bus, hub = MemoryBus(), Hub()
    channel = WebSocketChannel(bus, hub)
    task = asyncio.create_task(channel.run())
    await until(lambda: channel.state.state == "ready")
    event = ChatDelta(default_key("alice"), "m", 1, "x")
    bus.publish(event)
    assert hub.events == [event]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bus.publish(event)
    assert len(hub.events) == 1


async def test_what_happens_before_a_channel_is_made_is_shown_once_it_is(
    paper: PaperPlatform, tmp_path: Path, installed: None
) -> None:
    rig = await Rig(tmp_path, {"paper": {"enabled": True, "allow_from": ["42"]}}).start()
    try:
        await asyncio.sleep(0.001)
        assert rig.manager.states() and paper.office.walls == {}
        await rig.bus.submit(elsewhere(rig, direct_key("paper", "42")))
        await shown(paper, ECHO, "You said: from the browser")
    finally:
        await rig.crash()


async def test_a_link_code_that_the_platform_brings_again_is_answered_once(paper: PaperPlatform, rig: Rig) -> None:
    """The first time it ties the stranger; by then he is none, and the code is spent."""
    code = rig.links.offer("alice", time.time())["code"]
    await paper.person_says(f"/link {code}", person="666")
    async with asyncio.timeout(5):
        while not await paper.visible(person="666"):
            await asyncio.sleep(0.01)
    await paper.deliver_again()
    await paper.person_says("hello", person="666")
    await until(lambda: rig.agent.messages)
    assert rig.agent.texts == ["hello"]
