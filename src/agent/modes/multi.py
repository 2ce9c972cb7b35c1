"""`multi`: a plan of independent parts, sub-agents side by side, one streamed synthesis.

Sub-agents share the turn's one budget (its time, its rounds) and pass the same guard
as the person, each with the tools that the plan gives it; what they do is shown as
notes and tool events with their name, never as the answer. A part that fails is said
in the answer, by us where the model does not. Depth is one: a sub-agent makes no plans.
"""

import asyncio
from dataclasses import dataclass

import orjson

from agent import prompts
from agent.modes import single
from agent.modes.work import Finished, Work
from agent.ports.models import ModelFailed
from bus.errors import GatewayError
from bus.events import JsonObject

MAX_PARTS = 5
SIDE_BY_SIDE = 3
MAX_PART_ROUNDS = 8
RESULT_CHARS = 12_000


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the plan. `tools` are names; empty means all that the person has."""

    title: str
    task: str
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a part: its text, or why there is none."""

    text: str
    failed: bool = False


@dataclass(slots=True)
class Rounds:
    """What all parts together may still ask of models."""

    left: int

    def take(self) -> bool:
        """One round; False where none is left."""
        self.left -= 1
        return self.left >= 0


def parse_plan(text: str) -> list[Part]:
    """The parts that the planner named; empty where it made no plan. Pure."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end <= start:
        return []
    try:
        plan = orjson.loads(text[start : end + 1])
    except orjson.JSONDecodeError:
        return []
    parts = plan.get("parts") if isinstance(plan, dict) else None
    if not isinstance(parts, list):
        return []
    found = []
    for index, part in enumerate(parts[:MAX_PARTS], 1):
        if isinstance(part, dict) and isinstance(part.get("task"), str) and part["task"].strip():
            title = part.get("title")
            named = title.strip()[:80] if isinstance(title, str) else ""
            tools = part.get("tools")
            names = tuple(name for name in tools if isinstance(name, str)) if isinstance(tools, list) else ()
            found.append(Part(named or f"part {index}", part["task"].strip(), names))
    return found


async def run(work: Work) -> Finished:
    """Plan, work side by side, answer. One part, or no plan: the tool loop. Raises ModelFailed."""
    turn = work.turn
    history = await work.messages()
    parts = await _plan(work, history)
    if len(parts) < 2:
        turn.note("supervisor", "handover", "multi → single")
        return await single.run(work)
    turn.note("supervisor", "plan", " · ".join(part.title for part in parts))
    lanes = asyncio.Semaphore(SIDE_BY_SIDE)
    results: list[Result] = [Result("", failed=True)] * len(parts)
    rounds = Rounds(work.settings.max_rounds)

    async def one(index: int, part: Part) -> None:
        async with lanes:
            results[index] = await _part(work, f"{index + 1}", part, rounds)

    turn.alone = False
    async with asyncio.TaskGroup() as tasks:
        for index, part in enumerate(parts):
            tasks.create_task(one(index, part))
    turn.alone = True
    return await _synthesis(work, history, parts, results)


async def _plan(work: Work, history: list[JsonObject]) -> list[Part]:
    names = ", ".join(spec.name for spec in work.specs) or "none"
    planner = {"role": "system", "content": prompts.PLANNER % (MAX_PARTS, names)}
    reply = await work.ask([planner, *history[1:]], _unseen, hands=None)
    return parse_plan(reply.text)


async def _part(work: Work, name: str, part: Part, rounds: Rounds) -> Result:
    """What a sub-agent came to."""
    turn = work.turn
    turn.note(name, "started", part.title)
    messages: list[JsonObject] = [
        {"role": "system", "content": prompts.WORKER if not work.wishes else f"{prompts.WORKER}\n\n{work.wishes}"},
        {"role": "user", "content": part.task},
    ]
    try:
        text = await _worker_loop(work, name, messages, part.tools, rounds)
    except (ModelFailed, GatewayError) as error:
        turn.note(name, "failed", error.message)
        return Result(f"(this part failed: {error.message})", failed=True)
    if text is None:
        turn.note(name, "failed", "too many rounds of tool use")
        return Result("(this part was stopped: it needed too many rounds of tool use)", failed=True)
    turn.note(name, "finished", part.title)
    return Result(text[:RESULT_CHARS] or "(nothing was found)")


async def _worker_loop(
    work: Work, name: str, messages: list[JsonObject], tools: tuple[str, ...], rounds: Rounds
) -> str | None:
    """The answer; None where the rounds of this part, or of all together, did not suffice."""
    hands = work.hands(only=tools)
    for _ in range(MAX_PART_ROUNDS):
        if not rounds.take():
            break
        reply = await work.ask(messages, _unseen, hands=hands)
        if not reply.calls:
            return reply.text
        messages += await work.use_for(hands, reply, agent=name)
    return None


async def _synthesis(work: Work, history: list[JsonObject], parts: list[Part], results: list[Result]) -> Finished:
    findings = "\n\n".join(f"## {part.title}\n{result.text}" for part, result in zip(parts, results, strict=True))
    system = prompts.SYNTHESIS if not work.wishes else f"{prompts.SYNTHESIS}\n\n{work.wishes}"
    messages: list[JsonObject] = [
        {"role": "system", "content": system},
        *history[1:],
        {"role": "user", "content": f"Results of the parts:\n\n{findings}"},
    ]
    work.turn.next_round()
    reply = await work.ask(messages, work.turn.delta, hands=None)
    work.turn.model = reply.model or work.turn.model
    failed = [part.title for part, result in zip(parts, results, strict=True) if result.failed]
    if failed:
        names = ", ".join(f"“{title}”" for title in failed)
        work.turn.delta("\n\n" + prompts.said(prompts.PARTS_FAILED, work.turn.message.actor.language, parts=names))
    return Finished(reply.finish_reason)


def _unseen(text: str) -> None:
    """Text of planners and sub-agents is never the answer."""
