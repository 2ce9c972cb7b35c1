"""The SupervisorAgent: chooses how a turn is answered, gives it its context, and keeps its budget.

Above is `runner.py`, which owns the turn's ends; below are the modes, the model and
the tools behind the guard. It decides nothing about durability or delivery.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from agent import prompts
from agent.agents import Agents, tools_of
from agent.modes import choose, fast, multi, single
from agent.modes.work import Work
from agent.ports.media import MediaStore
from agent.ports.models import LanguageModel
from agent.ports.tools import GuardedTools, ToolSpec
from agent.settings import AgentProfile, AgentSettings
from agent.tools.executor import Executor
from agent.turn import Turn
from bus.events import Actor, JsonObject
from bus.keys import SessionKey

Persona = Callable[[str, Actor], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """How the turn ended; its text is the turn's."""

    finish_reason: str
    tool_calls: tuple[JsonObject, ...] = ()


@dataclass
class SupervisorAgent:
    """One instance for all turns."""

    model: LanguageModel
    tools: GuardedTools
    settings: AgentSettings
    media: MediaStore | None = None
    persona: Persona | None = None
    """(agent id, person) -> what the agent is told about itself and about him; '' where nothing."""
    agents: Agents = field(default_factory=lambda: Agents({}, []))
    choices: dict[str, int] = field(default_factory=dict)
    """How often each mode was chosen."""

    def __post_init__(self) -> None:
        self._executor = Executor(self.tools, tool_seconds=self.settings.tool_seconds, media=self.media)

    async def run(self, turn: Turn) -> Answer:
        """Answer the turn's message. Raises ModelFailed, GatewayError."""
        message = turn.message
        agent_id = turn.lane.head.agent_id if turn.lane.head is not None else "main"
        profile = self.agents.profile(agent_id)
        specs = tools_of(profile, await self._specs(message.actor, turn.lane.key))
        choice = self._choose(turn, specs, profile)
        self.choices[choice.mode] = self.choices.get(choice.mode, 0) + 1
        work = Work(
            turn=turn, model=self.model, executor=self._executor, specs=specs, settings=self.settings,
            system=profile.system_prompt or self.settings.system_prompt or prompts.DEFAULT, media=self.media,
            wishes=await self.persona(agent_id, message.actor) if self.persona is not None else "",
            among=tuple(profile.models),
        )  # fmt: skip
        turn.begin(choice.mode, work.model_name(choice.mode), choice.reason)
        await work.count_what_a_crash_cut()
        if choice.mode == choose.FAST:
            finished = await fast.run(work)
            if finished is not None:
                return Answer(finished.reason)
            turn.note("supervisor", "handover", "fast → single")
        elif choice.mode == choose.MULTI:
            return Answer((await multi.run(work)).reason)
        finished = await single.run(work)
        return Answer(finished.reason, finished.tool_calls)

    def _choose(self, turn: Turn, specs: Sequence[ToolSpec], profile: AgentProfile) -> choose.Choice:
        if turn.progress.rounds:
            return choose.Choice(choose.SINGLE, "goes on with the tools it had begun")
        message = turn.message
        options = message.options
        if options is not None and (options.tools or options.history):
            return choose.Choice(choose.SINGLE, "a program asks")
        asked = (options.mode if options is not None else None) or turn.lane.settings.get("mode")
        return choose.choose(
            message.text, configured=profile.mode or self.settings.mode, asked=asked, tools=len(specs),
            media=len(message.media), turns_before=turn.lane.window.turns - 1,
        )  # fmt: skip

    async def _specs(self, actor: Actor, session: SessionKey) -> Sequence[ToolSpec]:
        if "tools" not in actor.scopes:
            return ()
        return [spec for spec in await self.tools.list_tools(actor, session) if spec.policy != "deny"]
