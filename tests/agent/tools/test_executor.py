"""Rounds of tool calls: what goes wrong comes back to the model, and nothing is out of bounds."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agent.ports.models import RequestedCall
from agent.ports.tools import Progress, Report, ToolCall, ToolResult, ToolSpec, ToolUpdate
from agent.tools.executor import Executor, Round, TurnTools
from agent.tools.loops import LoopDetector
from agent.tools.results import ResultStore
from bus.deadline import Deadline
from bus.errors import Forbidden, OutcomeUnknown, Overloaded, ToolDenied, Unreachable
from bus.events import Actor, JsonObject
from bus.keys import SessionKey
from tests.agent.tools.helpers import ALICE, BOB

SESSION = SessionKey("agent:main:websocket:direct:alice")


class Workshop:
    """A tool source with tools of every temper. `log` is what really happened, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.calls: list[ToolCall] = []
        self.running = 0
        self.most = 0
        self.door = asyncio.Event()

    async def list_tools(self, actor: Actor) -> Sequence[ToolSpec]:
        number = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
        return [
            ToolSpec(name="read", description="", input_schema=number, read_only=True),
            ToolSpec(name="write", description="", input_schema=number),
            ToolSpec(name="put", description="", input_schema=number, idempotent=True),
            ToolSpec(name="far", description="", input_schema=number, source="bridge"),
            ToolSpec(name="wait", description="", input_schema={}, read_only=True),
            ToolSpec(name="stuck", description="", input_schema={}),
            ToolSpec(name="ask", description="", input_schema={}),
            ToolSpec(name="fail", description="", input_schema={"type": "object"}),
            ToolSpec(name="big", description="", input_schema={"type": "object"}, read_only=True),
        ]

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        self.calls.append(call)
        self.log.append(f"begin {call.name} {call.arguments.get('n', '')}".strip())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            found = await getattr(self, "_" + call.name)(call, deadline, report)
        finally:
            self.running -= 1
            self.log.append(f"end {call.name} {call.arguments.get('n', '')}".strip())
        return found if isinstance(found, ToolResult) else ToolResult(content=({"type": "text", "text": str(found)},))

    async def _read(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        await asyncio.sleep(0.01)
        return f"read {call.arguments.get('n')}"

    async def _write(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        report(Progress(progress=0.5, message="half"))
        await asyncio.sleep(0.001)
        return f"wrote {call.arguments.get('n')}"

    _put = _far = _write

    async def _wait(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        await self.door.wait()
        return "through"

    async def _stuck(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        await asyncio.sleep(3600)
        return ""

    async def _ask(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        deadline.pause()
        await asyncio.sleep(0.3)
        deadline.resume()
        return "allowed"

    async def _fail(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        errors: dict[str, Exception] = {
            "denied": ToolDenied("no"), "unknown": OutcomeUnknown("lost", effect="unknown"),
            "away": Unreachable("the bridge is away"), "forbidden": Forbidden("not yours"),
            "bug": ZeroDivisionError("a bug"), "timeout": TimeoutError(),
        }  # fmt: skip
        raise errors[call.arguments["how"]]

    async def _big(self, call: ToolCall, deadline: Deadline, report: Report) -> str:
        return str(call.arguments.get("piece", "x")) * int(call.arguments.get("times", 200_000))


class Notebook:
    """Writes down what it is told, together with what the workshop did."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.started: list[str] = []
        self.finished: list[tuple[str, ToolResult]] = []
        self.updates: list[ToolUpdate] = []
        self.broken = False
        self.texts: list[str] = []

    async def on_start(self, call: ToolCall, spec: ToolSpec | None) -> None:
        await asyncio.sleep(0.001)
        if self.broken:
            raise Overloaded("the disk is full")
        self.started.append(call.call_id)
        self.workshop.log.append(f"noted {call.name} {call.arguments.get('n', '')}".strip())

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None:
        self.updates.append(update)

    async def on_finish(self, call: ToolCall, result: ToolResult, text: str) -> None:
        await asyncio.sleep(0.001)
        self.texts.append(text)
        self.finished.append((call.call_id, result))


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture
def notebook(workshop: Workshop) -> Notebook:
    return Notebook(workshop)


async def turn(workshop: Workshop, tool_seconds: float = 5, only: str = "") -> TurnTools:
    executor = Executor(workshop, tool_seconds=tool_seconds, grace_seconds=0.05)
    specs = [spec for spec in await workshop.list_tools(ALICE) if not only or spec.name == only]
    return executor.turn(ALICE, specs, session=SESSION, message_id="m1")


def ask(*named: str | tuple[str, Any]) -> list[RequestedCall]:
    out = []
    for number, each in enumerate(named):
        name, arguments = (each, {}) if isinstance(each, str) else each
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        out.append(RequestedCall(call_id=f"c{number}", name=name, arguments=text))
    return out


def texts(found: Round) -> list[str]:
    return [outcome.text for outcome in found.outcomes]


async def test_results_come_in_the_order_of_the_calls(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    found = await tools.run(ask(("read", {"n": 1}), ("write", {"n": 2}), ("read", {"n": 3})), notebook)
    assert texts(found) == ["read 1", "wrote 2", "read 3"]
    assert found.messages()[1] == {"role": "tool", "tool_call_id": "c1", "content": "wrote 2"}
    assert found.stop == ""
    assert notebook.texts == texts(found)
    assert [call_id for call_id, _ in notebook.finished] == ["c0", "c1", "c2"]
    assert isinstance(notebook.updates[0], Progress)
    assert all(result.duration_ms >= 1 for _, result in notebook.finished[:1])


async def test_the_intent_is_noted_before_the_effect(workshop: Workshop, notebook: Notebook) -> None:
    await (await turn(workshop)).run(ask(("write", {"n": 1}), ("write", {"n": 2})), notebook)
    assert workshop.log == [
        "noted write 1", "begin write 1", "end write 1", "noted write 2", "begin write 2", "end write 2",
    ]  # fmt: skip


async def test_readers_run_side_by_side_and_writers_alone(workshop: Workshop, notebook: Notebook) -> None:
    calls = ask(*[("read", {"n": n}) for n in range(4)], ("write", {"n": 9}), ("write", {"n": 10}), ("read", {"n": 5}))
    await (await turn(workshop)).run(calls, notebook)
    begins = [line for line in workshop.log if line.startswith(("begin", "end"))]
    assert begins[:4] == [f"begin read {n}" for n in range(4)]
    assert begins[8:] == [
        "begin write 9",
        "end write 9",
        "begin write 10",
        "end write 10",
        "begin read 5",
        "end read 5",
    ]
    assert workshop.most == 4


@pytest.mark.attack(66)
async def test_a_thousand_calls_are_capped_and_at_most_16_run_at_once(workshop: Workshop, notebook: Notebook) -> None:
    calls = [RequestedCall(call_id=f"c{n}", name="read", arguments="{}") for n in range(1000)]
    found = await (await turn(workshop)).run(calls, notebook)
    assert len(workshop.calls) == 64
    assert workshop.most == 16
    assert len(found.outcomes) == len(notebook.started) == len(notebook.finished) == 1000
    assert "Too many calls" in found.outcomes[64].text
    assert found.outcomes[999].result.is_error
    assert found.stop == ""


@pytest.mark.attack(66)
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [("read", '{"n": ', "not valid JSON"), ("read", {"n": "x"}, "at “n”"), ("read", {"m": 1}, "'m' was unexpected"),
     ("raed", {}, "no tool named “raed”. The tools are: read, write"), ("", {}, "no tool named"),
     ("read", '{"n":"' + "x" * 1_048_577, "longer than"), ("read", "[1]", "one JSON object")],
)  # fmt: skip
async def test_what_the_model_got_wrong_comes_back_to_it(
    workshop: Workshop, notebook: Notebook, name: str, arguments: Any, said: str
) -> None:
    found = await (await turn(workshop)).run(ask((name, arguments)), notebook)
    (outcome,) = found.outcomes
    assert said in outcome.text
    assert outcome.result.is_error
    assert outcome.result.effect == "none"
    assert (notebook.started, [call_id for call_id, _ in notebook.finished]) == (["c0"], ["c0"])
    assert workshop.calls == []


@pytest.mark.attack(66)
async def test_three_repairs_and_then_without_tools(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    stops = []
    for number in range(4):
        found = await tools.run(
            [RequestedCall(call_id=f"x{number}", name="read", arguments=f'{{"n": {number}')], notebook
        )
        stops.append(found.stop)
    assert stops == ["", "", "", "repairs"]


@pytest.mark.attack(66)
async def test_ids_are_unique_within_a_turn(workshop: Workshop) -> None:
    tools = await turn(workshop)
    first = tools.unique([RequestedCall(call_id="call_0", name="read", arguments="{}")])
    second = tools.unique([RequestedCall(call_id="call_0", name="read", arguments="{}")] * 2)
    odd = tools.unique(
        [
            RequestedCall(call_id="", name="read", arguments="{}"),
            RequestedCall(call_id="y" * 9999, name="a", arguments=""),
        ]
    )
    assert [call.call_id for call in (*first, *second)] == ["call_0", "call_0-2", "call_0-3"]
    assert odd[0].call_id == "call"
    assert len(odd[1].call_id) == 128


@pytest.mark.parametrize(
    ("how", "code", "effect", "said"),
    [("denied", 2004, "none", "had no effect"), ("unknown", 2006, "unknown", "do not simply repeat"),
     ("away", 2003, "none", "the bridge is away"), ("bug", 2005, "unknown", "The tool failed"),
     ("timeout", 1004, "unknown", "took too long"), ("forbidden", 1002, "none", "not yours")],
)  # fmt: skip
async def test_errors_are_results_with_code_and_effect(
    workshop: Workshop, notebook: Notebook, how: str, code: int, effect: str, said: str
) -> None:
    (outcome,) = (await (await turn(workshop)).run(ask(("fail", {"how": how})), notebook)).outcomes
    assert (outcome.result.is_error, outcome.result.code, outcome.result.effect) == (True, code, effect)
    assert said in outcome.text
    assert "bug" not in outcome.text or how != "bug"


@pytest.mark.quiet
async def test_a_tool_that_takes_too_long(workshop: Workshop, notebook: Notebook) -> None:
    started = time.monotonic()
    found = await (await turn(workshop, tool_seconds=0.1)).run(ask("stuck", "wait"), notebook)
    assert [outcome.result.code for outcome in found.outcomes] == [1004, 1004]
    assert [outcome.result.effect for outcome in found.outcomes] == ["unknown", "none"]
    assert time.monotonic() - started < 1
    assert workshop.running == 0


async def test_waiting_for_a_person_is_not_counted(workshop: Workshop, notebook: Notebook) -> None:
    found = await (await turn(workshop, tool_seconds=0.1)).run(ask("ask"), notebook)
    assert texts(found) == ["allowed"]


@pytest.mark.attack(68)
async def test_cancelling_cancels_all(workshop: Workshop, notebook: Notebook) -> None:
    task = asyncio.create_task((await turn(workshop)).run(ask("wait", "wait", "wait"), notebook))
    await _until(lambda: workshop.running == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workshop.running == 0
    assert notebook.finished == []


async def test_a_log_that_refuses_stops_the_effect(workshop: Workshop, notebook: Notebook) -> None:
    notebook.broken = True
    for calls in (ask("write"), ask("read", "read", "read")):
        with pytest.raises(Overloaded):
            await (await turn(workshop)).run(calls, notebook)
    assert workshop.calls == []


@pytest.mark.attack(67)
async def test_the_same_thing_again_and_again_is_told_and_stopped(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    rounds = [await tools.run(ask(("read", {"n": 1})), notebook) for _ in range(5)]
    assert [found.stop for found in rounds] == ["", "", "", "", "loop"]
    assert "was called" not in rounds[1].outcomes[0].text
    assert "was called 3 times" in rounds[2].outcomes[0].text


@pytest.mark.attack(67)
async def test_ping_pong_is_a_loop_too_and_progress_is_not(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    stops = [(await tools.run(ask((name, {"n": 1})), notebook)).stop for _ in range(5) for name in ("read", "write")]
    assert stops == [""] * 8 + ["loop", "loop"]
    tools = await turn(workshop)
    assert not any([(await tools.run(ask(("read", {"n": n})), notebook)).stop for n in range(30)])


def test_arguments_in_another_order_are_the_same() -> None:
    detector = LoopDetector()
    assert detector.saw("a", {"x": 1, "y": 2}, "r") == 1
    assert detector.saw("a", {"x": 1, "y": 2}, "r") == 1
    detector.begin_round()
    assert detector.saw("a", {"y": 2, "x": 1}, "r") == 2
    assert detector.saw("a", {"y": 2, "x": 1}, "s") == 1
    assert detector.saw("a", {"n": 2**70}, "\ud800") == 1


async def test_after_a_crash_only_what_is_safe_is_sent_again(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    calls = ask("read", "put", "far", "write")
    found = await tools.run(calls, notebook, repeated=frozenset({"c0", "c1", "c2", "c3"}))
    assert [call.name for call in workshop.calls] == ["read", "put", "far"]
    assert all(call.repeated for call in workshop.calls)
    last = found.outcomes[3].result
    assert (last.code, last.effect, last.is_error) == (2006, "unknown", True)
    again = await turn(workshop)
    await again.run(calls, notebook)
    assert workshop.calls[1].idempotency_key == workshop.calls[4].idempotency_key
    assert len({call.idempotency_key for call in workshop.calls}) == 4


async def test_sub_agents_may_use_only_some(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop, only="read")
    assert [tool["function"]["name"] for tool in tools.for_model()] == ["read"]
    found = await tools.run(ask("write"), notebook)
    assert "no tool named “write”" in found.outcomes[0].text
    assert workshop.calls == []


# ---------------------------------------------------------------- long results


async def test_long_results_are_cut_and_can_be_read_on(workshop: Workshop, notebook: Notebook) -> None:
    tools = await turn(workshop)
    assert "read_result" not in names(tools)
    found = await tools.run(ask(("big", {"piece": "中文 ", "times": 40_000})), notebook)
    whole, seen = "中文 " * 40_000, ""
    text = found.outcomes[0].text
    assert "read_result" in names(tools)
    for number in range(20):
        assert len(text.encode()) <= 65_536
        body, found_mark, mark = text.rpartition("\n[Cut: ")
        if not found_mark:
            seen += text
            break
        seen += body
        following = json.loads(mark[mark.index("{") : mark.rindex("}") + 1])
        reading = RequestedCall(call_id=f"r{number}", name="read_result", arguments=json.dumps(following))
        text = (await tools.run([reading], notebook)).outcomes[0].text
    assert seen == whole
    assert notebook.finished[0][1].content[0]["text"] == whole  # the log has all of it


async def test_another_person_cannot_read_on(workshop: Workshop, notebook: Notebook) -> None:
    executor = Executor(workshop, tool_seconds=5)
    specs = await workshop.list_tools(ALICE)
    mine = executor.turn(ALICE, specs, session=SESSION)
    text = (await mine.run(ask("big"), notebook)).outcomes[0].text
    handle = json.loads(text[text.rindex("{") : text.rindex("}") + 1])
    for actor, session in ((BOB, SESSION), (ALICE, SessionKey("x", "alice"))):
        other = executor.turn(actor, specs, session=session)
        (outcome,) = (await other.run(ask(("read_result", handle)), notebook)).outcomes
        assert outcome.result.code == 3003


def test_the_oldest_results_go_first() -> None:
    store = ResultStore(kept_bytes=500_000)
    first = store.shorten("a", "x" * 200_000)
    handle = first[first.index('"handle": "') + 11 :].partition('"')[0]
    assert store.read("a", handle, 199_990) == "x" * 10
    assert "end" in str(store.read("a", handle, 10**9))
    store.shorten("a", "y" * 200_000)
    assert store.read("a", handle, 0) is None
    assert store.shorten("a", "short") == "short"


async def test_other_content_is_named(workshop: Workshop) -> None:
    from agent.tools.results import text_of

    content: tuple[JsonObject, ...] = (
        {"type": "text", "text": "a"}, {"type": "image", "mimeType": "image/png", "data": "..."},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "inside"}}, {"type": "resource_link", "uri": "u"},
        {"type": "unheard-of"}, {"type": "resource", "resource": None},
    )  # fmt: skip
    assert text_of(content).startswith("a\n[image image/png, shown to the person]\ninside\n[file  u]")
    assert text_of((), {"a": 1}) == '{"a": 1}'
    assert text_of([{"type": "text", "text": "\ud800"}]) == "?"


def names(tools: TurnTools) -> list[str]:
    return [tool["function"]["name"] for tool in tools.for_model()]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.005)
