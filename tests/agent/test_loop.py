"""The loop over a real log: order, one end for each message, stopping, going on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.ports.tools import ApprovalAsked, ToolCall, ToolResult
from agent.sessions.session import file_of
from bus.errors import IdempotencyConflict, NotFound, Overloaded
from bus.events import Actor, ChatDelta, ChatDone, ChatError, ChatMessage, ChatStarted
from bus.keys import SessionKey, default_key
from tests.agent.harness import Agent, Tools, running
from tests.fakes.disks import RefusingDisk
from tests.fakes.models import BreakingModel, EchoModel, ScriptedModel, StallingModel

KEY = default_key("alice")


async def test_an_answer_streams_in_order_and_without_gaps(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        accepted = await agent.send("hello there")
        done = await agent.end(accepted)
        assert [type(event) for event in agent.events[:3]] == [ChatMessage, ChatStarted, ChatDelta]
        assert [event.seq for event in agent.events] == list(range(1, len(agent.events) + 1))
        assert done.text == "you said: hello there"
        assert done.text == "".join(event.delta for event in agent.events if isinstance(event, ChatDelta))
        assert done.usage.total_tokens == 7
        messages, more = await agent.store.history(KEY, limit=10, before_seq=None)
        assert [(m["role"], m["text"]) for m in messages] == [("user", "hello there"), ("assistant", done.text)]
        assert not more


async def test_the_result_comes_before_the_first_event(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        await agent.send("hello")
        assert agent.events == []


async def test_numbers_go_on_over_turns_and_clean_restarts(tmp_path: Path) -> None:
    last = 0
    for _ in range(3):
        async with running(Agent(tmp_path, EchoModel())) as agent:
            for _ in range(2):
                await agent.ask("again")
            assert [event.seq for event in agent.events] == list(range(last + 1, last + 1 + len(agent.events)))
            last = agent.events[-1].seq


async def test_the_model_sees_the_talk_before(tmp_path: Path) -> None:
    model = EchoModel()
    async with running(Agent(tmp_path, model)) as agent:
        await agent.ask("one")
        await agent.ask("two")
    async with running(Agent(tmp_path, model)) as agent:
        await agent.ask("three")
        await agent.ask("/new")
        await agent.ask("four")
    said = [[m["content"] for m in request.messages[1:]] for request in model.requests]
    assert said[2] == ["one", "you said: one", "two", "you said: two", "three"]
    assert said[3] == ["four"]


async def test_one_turn_at_a_time_first_come_first_served(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel(pause=0.002))) as agent:
        accepted = [await agent.send(f"number {n}") for n in range(5)]
        for item in accepted:
            await agent.end(item)
        starts = [e.message_id for e in agent.events if isinstance(e, ChatStarted)]
        ends = [e.message_id for e in agent.events if isinstance(e, ChatDone)]
        assert starts == ends == [a.message_id for a in accepted]
        assert [event.seq for event in agent.events] == sorted(event.seq for event in agent.events)


async def test_sessions_run_side_by_side_but_a_user_has_his_share(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"turns_per_user": 2})) as agent:
        waiting = [await agent.send("hi", key=SessionKey(f"s{n}", "alice")) for n in range(4)]
        other = await agent.send("hi", user="bob")
        await agent.until(lambda: len(model.requests) == 3)
        await asyncio.sleep(0.02)
        assert len(model.requests) == 3
        model.go_on.set()
        for item in [*waiting, other]:
            assert (await agent.end(item)).text == "half whole"


async def test_a_repeat_is_one_turn(tmp_path: Path) -> None:
    model = EchoModel()
    async with running(Agent(tmp_path, model)) as agent:
        first, second = await asyncio.gather(
            agent.send("hello", idempotency_key="k"), agent.send("hello", idempotency_key="k")
        )
        assert (first.message_id, first.seq) == (second.message_id, second.seq)
        assert {first.repeated, second.repeated} == {False, True}
        await agent.end(first)
        other = await agent.send("hello", user="bob", idempotency_key="k")
        assert other.message_id != first.message_id
        await agent.end(other)
        with pytest.raises(IdempotencyConflict):
            await agent.send("something else", idempotency_key="k")
    async with running(Agent(tmp_path, model)) as agent:
        third = await agent.send("hello", idempotency_key="k")
        assert third.repeated and third.message_id == first.message_id
    assert len(model.requests) == 2


async def test_a_full_queue_is_said(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"queued_messages_per_session": 2})) as agent:
        items = [await agent.send("a")]
        await model.streaming.wait()
        items += [await agent.send("b"), await agent.send("c")]
        with pytest.raises(Overloaded) as refused:
            await agent.send("d")
        assert refused.value.retry_after_ms
        model.go_on.set()
        for item in items:
            await agent.end(item)


@pytest.mark.attack(68)
async def test_stop_reaches_the_model_and_ends_once(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model)) as agent:
        item, queued = await agent.send("a"), await agent.send("b")
        await model.streaming.wait()
        assert await agent.loop.abort(user="alice", message_id=queued.message_id)
        assert await agent.loop.abort(user="alice", key=KEY)
        assert not await agent.loop.abort(user="alice", key=KEY)
        end = await agent.end(item)
        assert isinstance(end, ChatError) and end.code == 1009
        assert (await agent.end(queued)).code == 1009
        assert not await agent.loop.abort(user="alice", message_id=item.message_id)
        with pytest.raises(NotFound):
            await agent.loop.abort(user="bob", message_id=item.message_id)
        assert model.cancelled == 1
        assert len(agent.ends(item.message_id)) == 1
        messages, _ = await agent.store.history(KEY, limit=10, before_seq=None)
        assert "half " in [m["text"] for m in messages]


async def test_slash_stop_overtakes(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model)) as agent:
        item = await agent.send("a")
        await model.streaming.wait()
        answer = await agent.ask("/stop")
        assert answer.text == "Stopped."
        assert (await agent.end(item)).code == 1009
        assert (await agent.ask("/help")).text.startswith("/new")


async def test_partial_text_is_kept_and_the_error_told(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, BreakingModel())) as agent:
        end = await agent.ask("hello")
        assert (end.code, end.retryable) == (2003, True)
        assert (await agent.store.history(KEY, limit=10, before_seq=None))[0][-1]["text"] == "half "


async def test_a_turn_has_its_time(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, StallingModel(), limits={"turn_seconds": 0.1})) as agent:
        assert (await agent.ask("hello")).code == 1004


async def test_a_clean_stop_pauses_and_uses_no_attempt_up(tmp_path: Path) -> None:
    model = StallingModel()
    for _ in range(4):
        async with running(Agent(tmp_path, model, limits={"drain_seconds": 0.02})) as agent:
            if not model.requests:
                item, queued = await agent.send("a"), await agent.send("b")
            await agent.until(lambda agent=agent: [e for e in agent.events if isinstance(e, ChatStarted)])
            await agent.until(lambda agent=agent: [e for e in agent.events if isinstance(e, ChatDelta)])
    model.go_on.set()
    async with running(Agent(tmp_path, model)) as agent:
        done = await agent.end(item)
        assert done.text == "half whole"
        assert next(e.attempt for e in agent.events if isinstance(e, ChatStarted)) == 1
        assert (await agent.end(queued)).text == "half whole"
        assert len(agent.ends(item.message_id)) == 1


async def test_what_the_disk_does_not_give_at_the_start_is_taken_up_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.loop.TAKE_UP_SECONDS", 0.05)
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"drain_seconds": 0.02})) as agent:
        item = await agent.send("a")
        await agent.until(lambda: [e for e in agent.events if isinstance(e, ChatDelta)])
    model.go_on.set()
    agent = Agent(tmp_path, model)
    agent.disk = disk = RefusingDisk()
    disk.only, disk.refuses = file_of(tmp_path, KEY).name, {"open_read"}
    async with running(agent), asyncio.timeout(10):
        while disk.refused < 2:
            await asyncio.sleep(0.01)
        assert agent.events == []
        disk.refuses = set()
        assert (await agent.end(item)).text == "half whole"
        assert (await agent.ask("b")).text == "half whole"


async def test_tools_run_and_rounds_are_joined(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("add", lambda call: call.arguments["a"] + 1, read_only=True)
    model = ScriptedModel(("first", [("c1", "add", '{"a": 1}'), ("c2", "add", '{"a": 5}')]), "second")
    async with running(Agent(tmp_path, model, tools)) as agent:
        done = await agent.ask("go")
        assert done.text == "first\n\nsecond"
        assert [event.seq for event in agent.events] == list(range(1, len(agent.events) + 1))
        seen = [m["content"] for m in model.requests[1].messages if m["role"] == "tool"]
        assert seen == ["2", "6"]
        messages, _ = await agent.store.history(KEY, limit=20, before_seq=None)
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool", "assistant"]
        assert [m["text"] for m in messages] == ["go", "first", "2", "6", "second"]
        assert [c["name"] for c in messages[1]["tool_calls"]] == ["add", "add"]


async def test_a_loop_of_tool_calls_is_stopped(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("spin", lambda call: len(tools.calls), read_only=True)
    model = ScriptedModel(*[("", [(f"c{n}", "spin", f'{{"n": {n}}}')]) for n in range(50)])
    async with running(Agent(tmp_path, model, tools, settings={"max_rounds": 4})) as agent:
        done = await agent.ask("go")
        assert done.finish_reason == "length" and "4 rounds" in done.text
        assert len(model.requests) == 4


async def test_a_deleted_session_is_gone_and_can_begin_anew(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        await agent.ask("hello")
        last = agent.events[-1].seq
        await agent.loop.delete(KEY, Actor(user="alice"))
        assert (await agent.store.history(KEY, limit=10, before_seq=None))[0] == []
        done = await agent.ask("back again")
        assert done.text == "you said: back again"
        assert done.seq > last + 1


async def test_collect_answers_a_burst_in_one_turn(tmp_path: Path) -> None:
    model = EchoModel()
    settings = {"queue": "collect", "gather_seconds": 0.4}
    async with running(Agent(tmp_path, model, settings=settings)) as agent:
        items = await asyncio.gather(*(agent.send(text) for text in ("one", "two", "three")))
        ends = [await agent.end(item) for item in items]
        assert [end.finish_reason for end in ends] == ["stop", "merged", "merged"]
        assert [m["content"] for m in model.requests[0].messages[1:]] == ["one", "two", "three"]
        assert len(model.requests) == 1
        assert [event.seq for event in agent.events] == list(range(1, len(agent.events) + 1))
        assert (await agent.ask("four")).text == "you said: four"


async def test_steer_joins_the_running_turn_between_two_rounds(tmp_path: Path) -> None:
    tools = Tools()
    model = ScriptedModel(("", [("c1", "wait", "{}")]), "done with both")

    async def wait(call: object) -> str:
        tools.second = await agent.send("and this")
        return "waited"

    tools.add("wait", wait)
    agent = Agent(tmp_path, model, tools, settings={"queue": "steer"})
    async with running(agent):
        first = await agent.send("go")
        assert (await agent.end(first)).text == "done with both"
        assert (await agent.end(tools.second)).finish_reason == "merged"
        assert model.requests[1].messages[-1]["content"] == "and this"


@pytest.mark.parametrize("queue", ["collect", "steer"])
async def test_what_joined_a_turn_stands_before_the_rounds_that_answer_it(tmp_path: Path, queue: str) -> None:
    """A model that reads a result before the question calls its tool again, up to the limit of rounds."""
    tools = Tools()
    model = ScriptedModel(("", [("c1", "wait", "{}")]), ("", [("c2", "look", "{}")]), "done with both")
    late = ["after"] if queue == "steer" else []

    async def wait(call: object) -> str:
        if late:
            await agent.send("and this")
        return "waited"

    tools.add("wait", wait)
    tools.add("look", lambda call: "looked")
    agent = Agent(tmp_path, model, tools, settings={"queue": queue, "gather_seconds": 0.2})
    async with running(agent):
        texts = ["go"] if late else ["go", "and this"]
        first, *_ = await asyncio.gather(*(agent.send(text) for text in texts))
        assert (await agent.end(first)).text == "done with both"
        said = [m["content"] if m["role"] == "user" else m["role"] for m in model.requests[2].messages[1:]]
        rounds = ["assistant", "tool"]
        assert said == (["go", *rounds, "and this", *rounds] if late else ["go", "and this", *rounds, *rounds])
        await agent.ask("next")
        assert [m["content"] for m in model.requests[3].messages if m["role"] == "user"] == ["go", "and this", "next"]


async def test_the_queue_that_is_shown_is_the_one_that_holds(tmp_path: Path) -> None:
    settings = {"queue": "steer", "queues": {"websocket": "collect"}}
    async with running(Agent(tmp_path, EchoModel(), settings=settings)) as agent:
        await agent.ask("hello")
        assert (await agent.ask("/queue")).text == "Queue: collect."
        await agent.ask("/queue interrupt")
        assert (await agent.ask("/queue")).text == "Queue: interrupt."


async def test_interrupt_takes_the_running_turns_place(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model)) as agent:
        assert "interrupt" in (await agent.ask("/queue interrupt")).text
        first = await agent.send("a")
        await model.streaming.wait()
        second = await agent.send("b")
        assert (await agent.end(first)).code == 1009
        model.go_on.set()
        assert (await agent.end(second)).text == "half whole"


async def test_a_long_queue_is_answered_in_order_after_a_restart_each_message_for_itself(tmp_path: Path) -> None:
    limits = {"queued_messages_per_session": 500, "drain_seconds": 0.0}
    settings = {"window_messages": 8}
    texts = [f"number {n}" for n in range(60)]
    async with running(Agent(tmp_path, StallingModel(), limits=limits, settings=settings)) as agent:
        sent = [await agent.send(text) for text in texts]
    agent = Agent(tmp_path, EchoModel(), limits=limits, settings=settings)
    async with running(agent):
        late = await agent.send("and one that comes while they are taken up")
        for accepted, text in zip(sent, texts, strict=True):
            assert (await agent.end(accepted)).text == f"you said: {text}"
        assert (await agent.end(late)).text.endswith("taken up")
        ends = [event.message_id for event in agent.events if isinstance(event, ChatDone)]
        assert ends == [accepted.message_id for accepted in (*sent, late)]


class AsksTooLate(Tools):
    """A source whose question comes when the turn's time is over and the call is being given up."""

    async def call(self, call: ToolCall, *, deadline: Any, report: Any) -> ToolResult:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            report(ApprovalAsked(approval_id="a", tool=call.name, arguments={}, risk="", expires_at=""))
            raise
        raise AssertionError("nobody waits so long")


async def test_a_question_that_comes_too_late_is_no_fault_of_ours(tmp_path: Path) -> None:
    tools = AsksTooLate()
    tools.add("slow", lambda call: None)
    model = ScriptedModel(("", [("c1", "slow", "{}")]))
    async with running(Agent(tmp_path, model, tools, limits={"turn_seconds": 0.1})) as agent:
        end = await agent.ask("go")
    assert (end.code, end.message) == (1004, "the answer took longer than 0.1 seconds")
