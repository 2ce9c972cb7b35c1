"""What every channel must do, whatever its platform: one suite, run over each adapter.

A channel's test module subclasses `ChannelContract` and gives it a `FakePlatform`: a
server on loopback that behaves as the platform does, and the hands and eyes of the
people on it. What a platform cannot do is said by the attributes; everything else
must hold. `docs/adding-a-channel.md` tells how a channel of another package uses this.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tests.channels.rig import Rig, Turn, echo, overloaded, until

Fault = Literal["rate_limited", "unavailable", "answer_lost", "blocked"]
"""`rate_limited`: 429, to be repeated after a second. `unavailable`: 503, nothing done. `answer_lost`: the
message is shown, then the connection breaks. `blocked`: refused for good."""

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


class FakePlatform(ABC):
    """A platform on loopback and its people. `42` is admitted in private, `7` is a member of the listed group."""

    name: ClassVar[str]
    remembers_nonces: ClassVar[bool]
    """A send may be repeated under its nonce."""
    limit: ClassVar[int]
    """Characters in a message."""
    has_groups: ClassVar[bool] = True
    has_threads: ClassVar[bool] = True
    has_buttons: ClassVar[bool] = True
    has_edits_by_people: ClassVar[bool] = True
    refuses_tokens: ClassVar[bool] = True
    group: ClassVar[str]
    """The listed group's id; `other_group` is not listed."""
    other_group: ClassVar[str]
    thread: ClassVar[str] = "77"

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """`channels.<name>` of the configuration, without who may speak."""

    @abstractmethod
    async def person_says(
        self,
        text: str,
        *,
        person: str = "42",
        group: str | None = None,
        mentioned: bool = False,
        thread: str | None = None,
        bot: bool = False,
    ) -> str:
        """In private, or in `group` (and `thread`); the message's id on the platform."""

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        """A person changes what he said in private."""
        raise NotImplementedError

    @abstractmethod
    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        """A file in private: `photo`, `voice` or `document`."""

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        """Press the newest button whose label contains `label`."""
        raise NotImplementedError

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        """Whether a button with `label` can be pressed."""
        raise NotImplementedError

    @abstractmethod
    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        """What the assistant wrote there, as a person reads it now, in order; files as `[kind]`."""

    @abstractmethod
    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        """The next calls that show a new message fail so."""

    @abstractmethod
    async def outage(self, on: bool) -> None:
        """Every call is answered with 503, until it is over."""

    @abstractmethod
    async def deliver_again(self) -> None:
        """Bring the newest message of a person once more, as platforms do."""

    async def refuse_token(self, refused: bool) -> None:
        """The token is no longer (or again) valid."""
        raise NotImplementedError


class ChannelContract:
    """The suite. A subclass defines `make_platform`."""

    settle = 0.25
    """Seconds after which nothing more is expected to happen."""

    def make_platform(self) -> FakePlatform:
        raise NotImplementedError

    @pytest.fixture
    async def platform(self) -> AsyncIterator[FakePlatform]:
        platform = self.make_platform()
        await platform.start()
        yield platform
        await platform.stop()

    @pytest.fixture
    async def rig(self, platform: FakePlatform, tmp_path: Path) -> AsyncIterator[Rig]:
        section = {
            "enabled": True, **platform.section(), "allow_from": ["42"],
            "groups": {platform.group: {"allow_from": ["42", "7"]}},
        }  # fmt: skip
        rig = Rig(tmp_path, {platform.name: section})
        await rig.start()
        await rig.ready(platform.name)
        yield rig
        await rig.crash()

    async def quiet(self) -> None:
        """Give what must not happen the time to happen."""
        await asyncio.sleep(self.settle)

    async def shown(self, platform: FakePlatform, *texts: str, seconds: float = 10, **where: Any) -> None:
        """The assistant's messages there are exactly `texts`, and stay so."""
        seen: list[str] = []
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            seen = [text.strip() for text in await platform.visible(**where)]
            if seen == list(texts):
                await self.quiet()
                seen = [text.strip() for text in await platform.visible(**where)]
                break
            await asyncio.sleep(0.02)
        assert seen == list(texts)

    # ------------------------------------------------------------ in and out

    async def test_a_message_gets_one_answer(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        message = rig.agent.messages[0]
        assert message.session.text == f"agent:main:{platform.name}:direct:42"
        assert message.actor.identity.startswith(f"{platform.name}:")
        assert message.actor.identity.endswith(":42")

    async def test_answers_come_in_order(self, platform: FakePlatform, rig: Rig) -> None:
        for number in range(3):
            await platform.person_says(f"m{number}")
        await self.shown(platform, "You said: m0", "You said: m1", "You said: m2", seconds=15)

    async def test_a_stream_ends_in_one_message_with_all_of_it(self, platform: FakePlatform, rig: Rig) -> None:
        async def slowly(turn: Turn) -> None:
            for number in range(16):
                turn.say(f"word{number} ")
                await asyncio.sleep(0.1)
            turn.done()

        rig.agent.script = slowly
        await platform.person_says("go")
        await self.shown(platform, " ".join(f"word{n}" for n in range(16)))

    async def test_a_long_answer_is_split_within_the_limit(self, platform: FakePlatform, rig: Rig) -> None:
        words = " ".join(f"word{number}" for number in range(platform.limit // 4))

        async def long(turn: Turn) -> None:
            turn.say(words)
            turn.done()

        rig.agent.script = long
        await platform.person_says("go")
        end = asyncio.get_running_loop().time() + 15
        while " ".join(" ".join(await platform.visible()).split()) != words:
            assert asyncio.get_running_loop().time() < end, await platform.visible()
            await asyncio.sleep(0.05)
        pieces = await platform.visible()
        assert len(pieces) > 1
        assert all(0 < len(piece) <= platform.limit for piece in pieces)

    async def test_an_error_is_told_and_ends_the_turn(self, platform: FakePlatform, rig: Rig) -> None:
        from bus.events import ChatError

        async def fail(turn: Turn) -> None:
            turn.say("half of it")
            turn.publish(ChatError, code=1004, message="timed out", retryable=True)

        rig.agent.script = fail
        await platform.person_says("go")
        await self.shown(platform, "half of it\n\n⚠️ timed out")

    async def test_what_a_tool_returns_as_picture_is_sent_as_such(self, platform: FakePlatform, rig: Rig) -> None:
        async def draw(turn: Turn) -> None:
            ref = await rig.media.save(PNG, mime="image/png", name="cat.png", owner=turn.message.actor.user)
            turn.tool("draw", (ref,))
            turn.say("a cat")
            turn.done()

        rig.agent.script = draw
        await platform.person_says("draw a cat")
        await self.shown(platform, "[photo]", "a cat")

    async def test_tools_are_shown_beside_the_answer_and_never_in_it(self, platform: FakePlatform, rig: Rig) -> None:
        async def work(turn: Turn) -> None:
            turn.say("result: ")
            turn.tool("fs_read_file")
            await asyncio.sleep(0.3)
            turn.say("42")
            turn.done()

        rig.agent.script = work
        await platform.person_says("go")
        await self.shown(platform, "result: 42")

    # ------------------------------------------------------------ who may speak

    @pytest.mark.attack(57)
    async def test_a_stranger_gets_one_hint_and_reaches_nothing(self, platform: FakePlatform, rig: Rig) -> None:
        for _ in range(3):
            await platform.person_says("let me in", person="666")
        await until(lambda: rig.pairing.pending(0))
        await self.quiet()
        seen = await platform.visible(person="666")
        assert len(seen) == 1
        assert "pair approve" in seen[0]
        assert rig.agent.messages == []

    @pytest.mark.attack(60)
    async def test_bots_are_not_heard(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("beep", bot=True)
        await platform.person_says("real")
        await self.shown(platform, "You said: real")

    @pytest.mark.attack(59)
    async def test_groups_answer_when_spoken_to_and_keep_the_rest_as_context(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        if not platform.has_groups:
            return
        await platform.person_says("lunch at noon", person="7", group=platform.group)
        await until(lambda: len(rig.agent.messages) == 1)
        await platform.person_says("stranger's word", person="666", group=platform.group)
        await platform.person_says("when is lunch?", person="42", group=platform.group, mentioned=True)
        await self.shown(platform, "You said: when is lunch?", group=platform.group)
        context, asked = rig.agent.messages
        assert not context.wants_reply
        assert context.text.endswith(": lunch at noon")
        assert asked.wants_reply
        assert asked.session.text == f"agent:main:{platform.name}:group:{platform.group}" == context.session.text

    @pytest.mark.attack(59)
    async def test_a_group_that_is_not_listed_is_not_heard(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_groups:
            return
        await platform.person_says("hey", person="42", group=platform.other_group, mentioned=True)
        await self.quiet()
        assert await platform.visible(group=platform.other_group) == []
        assert rig.agent.messages == []

    async def test_a_thread_is_a_session_of_its_own(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_threads:
            return
        await platform.person_says("in here", group=platform.group, thread=platform.thread, mentioned=True)
        await self.shown(platform, "You said: in here", group=platform.group, thread=platform.thread)
        key = rig.agent.messages[0].session.text
        assert key.startswith(f"agent:main:{platform.name}:group:{platform.group}:")
        assert key.endswith(f":{platform.thread}")

    # ------------------------------------------------------------ repetition, edits, files

    @pytest.mark.attack(55)
    async def test_a_repeated_message_is_one_turn_after_a_restart_too(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("once")
        await self.shown(platform, "You said: once")
        await platform.deliver_again()
        await self.quiet()
        await rig.crash()
        await rig.start()
        await rig.ready(platform.name)
        await platform.deliver_again()
        await self.shown(platform, "You said: once")
        assert len(rig.agent.messages) == 1

    async def test_an_edited_message_replaces_its_first_form(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_edits_by_people:
            return
        said = await platform.person_says("fisrt")
        await self.shown(platform, "You said: fisrt")
        await platform.person_edits(said, "first")
        await self.shown(platform, "You said: fisrt", "You said: first")
        first, second = rig.agent.messages
        assert second.replaces == first.message_id

    async def test_a_picture_comes_in(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_sends(PNG, caption="look")
        await until(lambda: rig.agent.messages)
        message = rig.agent.messages[0]
        assert message.text == "look"
        assert message.media[0].mime.startswith("image/")
        assert await rig.media.read(message.media[0], message.actor.user) == PNG

    async def test_a_file_that_is_too_large_is_not_taken_and_that_is_said(
        self, platform: FakePlatform, tmp_path: Path
    ) -> None:
        section = {"enabled": True, **platform.section(), "allow_from": ["42"], "max_media_bytes": 1000}
        rig = Rig(tmp_path / "small", {platform.name: section})
        async with rig.running(platform.name):
            await platform.person_sends(b"x" * 5000, kind="document", caption="read this")
            await until(lambda: rig.agent.messages)
            assert rig.agent.messages[0].media == ()
            end = asyncio.get_running_loop().time() + 5
            while not any("too large" in text for text in await platform.visible()):
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.02)

    # ------------------------------------------------------------ faults on the way out

    @pytest.mark.attack(62)
    @pytest.mark.parametrize("fault", ["rate_limited", "unavailable"])
    async def test_a_passing_trouble_delays_the_one_answer(
        self, platform: FakePlatform, rig: Rig, fault: Fault
    ) -> None:
        await platform.fail_next(fault)
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        assert await rig.manager.deliveries() == []

    @pytest.mark.attack(64)
    async def test_a_lost_answer_of_the_platform_never_doubles_ours(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.fail_next("answer_lost")
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        listed = await rig.manager.deliveries()
        if platform.remembers_nonces:
            assert listed == []
        else:
            assert [(d["state"], d["channel"], d["chat_id"]) for d in listed] == [("unknown", platform.name, "42")]
            assert listed[0]["preview"] == "You said: hello"
            assert await rig.manager.resend(listed[0]["delivery_id"])
            await self.shown(platform, "You said: hello", "You said: hello")

    @pytest.mark.attack(63)
    async def test_a_refusal_is_listed_after_one_try_and_can_be_sent_again(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        await platform.fail_next("blocked")
        await platform.person_says("hello")
        end = asyncio.get_running_loop().time() + 5
        while not (listed := await rig.manager.deliveries()):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        await self.quiet()
        assert await platform.visible() == []
        assert listed[0]["state"] == "refused"
        assert await rig.manager.resend(listed[0]["delivery_id"])
        await self.shown(platform, "You said: hello")
        assert await rig.manager.deliveries() == []

    @pytest.mark.attack(62)
    async def test_an_outage_degrades_this_channel_and_heals(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.outage(True)

        async def answer_late(turn: Turn) -> None:
            await asyncio.sleep(0.2)
            await echo(turn)

        rig.agent.script = answer_late
        await until(lambda: rig.state(platform.name) in ("degraded", "failed"), 20)
        assert rig.manager.states()[platform.name]["reason"]
        await platform.outage(False)
        await platform.person_says("after the storm")
        await self.shown(platform, "You said: after the storm", seconds=20)
        await until(lambda: rig.state(platform.name) == "ready", 20)
        assert "reason" not in rig.manager.states()[platform.name]

    async def test_one_slow_chat_holds_up_no_other(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_groups:
            return
        await platform.fail_next("rate_limited")
        await platform.person_says("first")
        await until(lambda: rig.agent.messages)
        await asyncio.sleep(0.2)
        began = asyncio.get_running_loop().time()
        await platform.person_says("second", group=platform.group, mentioned=True)
        while await platform.visible(group=platform.group) != ["You said: second"]:
            assert asyncio.get_running_loop().time() - began < 5
            await asyncio.sleep(0.02)
        await self.shown(platform, "You said: first")

    @pytest.mark.attack(62)
    async def test_a_refused_token_is_said_and_heals_by_itself(self, platform: FakePlatform, tmp_path: Path) -> None:
        if not platform.refuses_tokens:
            return
        await platform.refuse_token(True)
        section = {"enabled": True, **platform.section(), "allow_from": ["42"]}
        rig = Rig(tmp_path / "other", {platform.name: section})
        await rig.start()
        try:
            await until(lambda: rig.state(platform.name) == "failed", 15)
            assert rig.manager.states()[platform.name]["reason"]
            await platform.refuse_token(False)
            await until(lambda: rig.state(platform.name) == "ready", 15)
            await platform.person_says("hello")
            await self.shown(platform, "You said: hello")
        finally:
            await rig.crash()

    # ------------------------------------------------------------ overload and crashes

    async def test_an_overloaded_gateway_is_waited_for(self, platform: FakePlatform, rig: Rig) -> None:
        rig.agent.refuse = overloaded(3)
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")

    async def test_what_was_not_durable_before_a_crash_comes_again(self, platform: FakePlatform, rig: Rig) -> None:
        rig.agent.holding = asyncio.Event()
        await platform.person_says("hello")
        await asyncio.sleep(0.3)
        await rig.crash()
        assert rig.memory.accepted == {}
        await rig.start()
        await rig.ready(platform.name)
        await self.shown(platform, "You said: hello", seconds=15)
        assert len(rig.agent.messages) == 1

    async def test_a_crash_in_mid_stream_ends_in_one_whole_answer(self, platform: FakePlatform, rig: Rig) -> None:
        async def crashing(turn: Turn) -> None:
            turn.say("half of the ")
            if turn.attempt > 1:
                turn.say("answer and the rest")
                turn.done()
            else:
                await asyncio.sleep(60)

        rig.agent.script = crashing
        rig.script = crashing
        await platform.person_says("go")
        await asyncio.sleep(1.5)
        await rig.crash()
        await rig.start()
        await self.shown(platform, "half of the answer and the rest", seconds=15)

    async def test_an_answer_that_nobody_delivered_before_a_crash_is_delivered_after_it(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        await platform.fail_next("unavailable", 50)
        await platform.person_says("hello")
        await until(lambda: rig.memory.ended)
        await asyncio.sleep(0.2)
        await rig.crash()
        await platform.fail_next("unavailable", 0)
        await rig.start()
        await self.shown(platform, "You said: hello", seconds=15)

    # ------------------------------------------------------------ approvals

    async def test_buttons_decide_for_the_requester_alone_and_only_once(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_buttons:
            return
        where = {"group": platform.group} if platform.has_groups else {}

        async def asking(turn: Turn) -> None:
            turn.ask("apr_1")
            await until(lambda: rig.agent.decisions)
            turn.say("deleted")
            turn.done()

        rig.agent.script = asking
        await platform.person_says("delete it", person="42", mentioned=True, **where)
        while not await platform.has_button("Allow once", **where):
            await asyncio.sleep(0.02)
        for label in ("Allow for this session", "Always allow", "Deny"):
            assert await platform.has_button(label, **where)
        await platform.person_taps("Allow once", person="7", **where)
        await self.quiet()
        assert rig.agent.decisions == []
        await platform.person_taps("Allow once", person="42", **where)
        await until(lambda: rig.agent.decisions)
        assert [d[:2] for d in rig.agent.decisions] == [("apr_1", "allow_once")]
        end = asyncio.get_running_loop().time() + 10
        while await platform.has_button("Allow once", **where) or "deleted" not in await platform.visible(**where):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        question = next(text for text in await platform.visible(**where) if "fs_delete_file" in text)
        assert "Allowed once" in question

    async def test_buttons_survive_a_restart(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_buttons:
            return

        async def asking(turn: Turn) -> None:
            turn.ask("apr_1")
            await asyncio.sleep(60)

        rig.agent.script = asking
        await platform.person_says("delete it")
        while not await platform.has_button("Deny"):
            await asyncio.sleep(0.02)
        asked = rig.agent.asked
        await rig.crash()
        await rig.start(resume=False)
        await rig.ready(platform.name)
        for turn in asked.values():
            turn.agent = rig.agent
        rig.agent.asked.update(asked)
        await platform.person_taps("Deny")
        await until(lambda: rig.agent.decisions)
        assert rig.agent.decisions[0][:2] == ("apr_1", "deny")
        end = asyncio.get_running_loop().time() + 10
        while await platform.has_button("Deny"):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        assert "Denied" in (await platform.visible())[0]
