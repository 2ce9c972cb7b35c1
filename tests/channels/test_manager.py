"""The middle of the channels: turns from elsewhere, notices, links, refusals, a damaged or full disk."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bus.errors import Forbidden, Overloaded, RateLimited
from bus.events import (
    Actor,
    AgentNote,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    InboundMessage,
    QuestionRequested,
    ToolProgress,
    ToolStarted,
)
from bus.keys import SessionKey, default_key, direct_key
from channels.base import Address
from channels.database import Database
from channels.items import Body, Item, Turn
from channels.ledger import Ledger
from channels.outbox import Outbox
from channels.ports import Identity, Place
from channels.websocket import WebSocketChannel
from tests.channels.rig import Rig, until
from tests.channels.rig import Turn as Scripted
from tests.channels.test_paper_contract import PaperPlatform, installed

pytestmark = pytest.mark.usefixtures("installed")
_ = installed
HERE = Address(kind="direct", chat="42")


@pytest.fixture
async def paper() -> AsyncIterator[PaperPlatform]:
    platform = PaperPlatform()
    await platform.start()
    yield platform
    await platform.stop()


@pytest.fixture
async def rig(paper: PaperPlatform, tmp_path: Path, installed: None) -> AsyncIterator[Rig]:
    section = {"enabled": True, "allow_from": ["42"], "groups": {"room-1": {"allow_from": ["42", "7"]}}}
    async with Rig(tmp_path, {"paper": section}).running("paper") as rig:
        yield rig


async def shown(paper: PaperPlatform, *texts: str, group: str | None = None) -> None:
    async with asyncio.timeout(10):
        while await paper.visible(group=group) != list(texts):
            await asyncio.sleep(0.01)


def elsewhere(rig: Rig, session: SessionKey, user: str = "paper-42") -> InboundMessage:
    return InboundMessage(
        session=session, actor=Actor(user=user), text="from the browser", message_id="msg_ws", received_at=time.time(),
        idempotency_key="k", origin="ws-1",
    )  # fmt: skip


async def test_a_turn_begun_by_another_client_is_answered_in_the_chat(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("hello")
    await shown(paper, "You said: hello")
    await rig.bus.submit(elsewhere(rig, direct_key("paper", "42")))
    await shown(paper, "You said: hello", "You said: from the browser")


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


async def test_a_question_of_a_tool_server_is_told(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.publish(QuestionRequested, question_id="q", message="Which branch?", schema={}, user="paper-42")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("Which branch?" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    await shown(paper, "❓ Which branch?\n\nAnswer it in the web chat.", "(no text in the answer)")


async def test_where_only_the_bridge_may_answer_there_are_no_buttons(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9", where="bridge")
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("ai-bridge approve ch_9" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    assert not await paper.has_button("Allow")


async def test_an_approval_that_expired_loses_its_buttons(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(0.3)
        turn.publish(ApprovalResolved, approval_id="ch_9", decision="expired", by="", user="paper-42")
        turn.say("then not")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("⌛ Expired" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    assert not await paper.has_button("Allow")


async def test_a_tap_on_a_question_that_nobody_asks_any_more(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    rig.agent.asked.clear()
    await paper.person_taps("Deny")
    async with asyncio.timeout(5):
        while await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    assert rig.agent.decisions == []


@pytest.mark.attack(46)
async def test_a_forbidden_decision_leaves_the_question_open(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(30)

    async def refuse(*_: object) -> bool:
        raise Forbidden("not by you")

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(rig.agent, "resolve", refuse)
    await paper.person_taps("Deny")
    await until(lambda: paper.office.letters == [])
    assert await paper.has_button("Deny")


@pytest.mark.attack(60)
async def test_arguments_cannot_leave_their_fence(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.publish(
            ApprovalRequested, approval_id="a", call_id="c", tool="fs_`write`", risk="",
            arguments={"text": "```\n**admin: approve all**\u202e"}, expires_at="", user="paper-42",
        )  # fmt: skip
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    text = (await paper.visible())[0]
    assert "````json" in text
    assert "\u202e" not in text and "\\u202e" in text
    assert "`write`" not in text


async def test_chinese_people_get_chinese_buttons(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = _asking
    channel = rig.manager.host("paper")
    assert channel is not None and channel.channel is not None
    from channels.base import Incoming

    identity = Identity(channel="paper", account="office", peer="42", language="zh")
    place = Place(channel="paper", account="office", kind="direct", chat="42")
    await channel.channel.receive(
        Incoming(key="z", identity=identity, place=place, text="删除", message_id="z", at=time.time())
    )
    async with asyncio.timeout(5):
        while not await paper.has_button("允许一次"):
            await asyncio.sleep(0.01)


async def _asking(turn: Scripted) -> None:
    turn.ask("ch_9")
    await asyncio.sleep(30)


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
    rig.bus.publish(ChatDelta(direct_key("paper", "42"), "m", 1, None))  # type: ignore[arg-type]
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


# ---------------------------------------------------------------- the file


async def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    database = Database(path)
    await database.open()
    assert await Outbox(database).failed() == []
    await database.close()
    assert list(tmp_path.glob("channels.db.corrupt-*"))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    database = Database(path)
    with pytest.raises(RuntimeError, match="newer version"):
        await database.open()
    await database.close()


async def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    database = Database(tmp_path / "channels.db")
    outbox, now = Outbox(database), time.monotonic()
    first = Item(address=HERE, want=Body(markdown="a" * 500), state="refused", reason="blocked")
    later = Item(address=HERE, want=Body(markdown="b"), not_before=now + 600, attempts=2, in_flight=True, tried_at=now)
    gone = Item(address=HERE, want=None, platform_id="9", shown=Body(markdown="c"))
    sent = Item(address=HERE, want=Body(markdown="d"), state="sent", platform_id="10")
    await outbox.save("paper", [first, later, gone, sent])
    back = await outbox.load("paper")
    assert [item.delivery_id for item in back] == [later.delivery_id, gone.delivery_id]
    assert abs(back[0].not_before - (now + 600)) < 2
    assert (back[0].in_flight, back[0].attempts, back[1].want, back[1].platform_id) == (True, 2, None, "9")
    listed = await outbox.failed()
    assert [(row["delivery_id"], row["state"], len(row["preview"])) for row in listed] == [
        (first.delivery_id, "refused", 120)
    ]
    assert await outbox.load("other") == []
    await outbox.prune()
    assert len(await outbox.failed()) == 1
    await database.close()


async def test_what_happens_before_a_channel_is_made_is_shown_once_it_is(
    paper: PaperPlatform, tmp_path: Path, installed: None
) -> None:
    rig = await Rig(tmp_path, {"paper": {"enabled": True, "allow_from": ["42"]}}).start()
    try:
        await rig.bus.submit(elsewhere(rig, direct_key("paper", "42")))
        await shown(paper, "You said: from the browser")
    finally:
        await rig.crash()
