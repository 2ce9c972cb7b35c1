"""`multi`: a plan of independent parts, sub-agents side by side, one streamed synthesis.

Sub-agents work under the turn's one budget and the same guard as the person; what
they do is shown as notes and tool events with their name, never as the answer. A
part that fails is said in the answer. Depth is one: a sub-agent makes no plans.
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
    """One part of the plan."""

    title: str
    task: str


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
            found.append(Part(title.strip()[:80] if isinstance(title, str) else f"part {index}", part["task"].strip()))
    return found


async def run(work: Work) -> Finished:
    """Plan, work side by side, answer. One part, or no plan: the tool loop."""
    turn = work.turn
    history = await work.messages()
    parts = await _plan(work, history)
    if len(parts) < 2:
        turn.note("supervisor", "handover", "multi → single")
        return await single.run(work)
    turn.note("supervisor", "plan", " · ".join(part.title for part in parts))
    lanes = asyncio.Semaphore(SIDE_BY_SIDE)
    results: list[str] = [""] * len(parts)

    async def one(index: int, part: Part) -> None:
        async with lanes:
            results[index] = await _part(work, f"{index + 1}", part)

    async with asyncio.TaskGroup() as tasks:
        for index, part in enumerate(parts):
            tasks.create_task(one(index, part))
    return await _synthesis(work, history, parts, results)


async def _plan(work: Work, history: list[JsonObject]) -> list[Part]:
    planner = {"role": "system", "content": prompts.PLANNER % MAX_PARTS}
    try:
        reply = await work.ask([planner, *history[1:]], _unseen, hands=None)
    except ModelFailed:
        return []  # the tool loop will say what is wrong with the model, or do without a plan
    return parse_plan(reply.text)


async def _part(work: Work, name: str, part: Part) -> str:
    """A sub-agent's result as text; its failure too."""
    turn = work.turn
    turn.note(name, "started", part.title)
    messages: list[JsonObject] = [
        {"role": "system", "content": prompts.WORKER if not work.wishes else f"{prompts.WORKER}\n\n{work.wishes}"},
        {"role": "user", "content": part.task},
    ]
    try:
        text = await _worker_loop(work, name, messages)
    except (ModelFailed, GatewayError) as error:
        turn.note(name, "failed", error.message)
        return f"(this part failed: {error.message})"
    turn.note(name, "finished", part.title)
    return text[:RESULT_CHARS]


async def _worker_loop(work: Work, name: str, messages: list[JsonObject]) -> str:
    hands = work.hands()
    for _ in range(MAX_PART_ROUNDS):
        reply = await work.ask(messages, _unseen, hands=hands)
        if not reply.calls:
            return reply.text
        messages += await work.use_for(hands, reply, agent=name)
    return "(this part was stopped: it needed too many rounds of tool use)"


async def _synthesis(work: Work, history: list[JsonObject], parts: list[Part], results: list[str]) -> Finished:
    findings = "\n\n".join(f"## {part.title}\n{result}" for part, result in zip(parts, results, strict=True))
    system = prompts.SYNTHESIS if not work.wishes else f"{prompts.SYNTHESIS}\n\n{work.wishes}"
    messages: list[JsonObject] = [
        {"role": "system", "content": system},
        *history[1:],
        {"role": "user", "content": f"Results of the parts:\n\n{findings}"},
    ]
    work.turn.next_round()
    reply = await work.ask(messages, work.turn.delta, hands=None)
    work.turn.model = reply.model or work.turn.model
    return Finished(reply.finish_reason)


def _unseen(text: str) -> None:
    """Text of planners and sub-agents is never the answer."""
