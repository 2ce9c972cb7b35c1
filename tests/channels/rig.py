"""A gateway's middle for channel tests: the real manager, gate, media and memory bus, around an agent that talks.

`TalkingAgent` stands where the loop stands: it accepts, remembers keys, and
publishes the events of a turn. `Rig.crash` ends everything without a goodbye;
`Rig.start` begins again on the same folder.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bus.errors import Forbidden, NotFound, Overloaded
from bus.events import (
    Accepted,
    Actor,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    ChatDone,
    ChatMessage,
    ChatStarted,
    Decision,
    InboundMessage,
    MediaRef,
    QuestionRequested,
    ToolFinished,
    ToolStarted,
    Usage,
)
from bus.keys import SessionKey
from bus.message_bus import MemoryBus
from channels.manager import ChannelManager
from channels.ports import Outcome
from channels.settings import ChannelsSettings
from gateway.identity.document import Document
from gateway.identity.gatekeeper import Gate
from gateway.identity.links import Links
from gateway.identity.media import MediaFolder
from gateway.identity.pairing import Pairing
from gateway.identity.users import Users
from tests.channels.pace import PACE, quick_channel

Script = Callable[["Turn"], Any]


async def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until `true()`; the value."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := true()):
        if asyncio.get_running_loop().time() > end:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.01)
    return found


@dataclass
class Memory:
    """What survives a crash of the agent: the log."""

    accepted: dict[str, InboundMessage] = field(default_factory=dict)
    by_key: dict[tuple[str, str], str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    seq: dict[SessionKey, int] = field(default_factory=dict)


class Turn:
    """A turn in the hands of a script."""

    def __init__(self, agent: "TalkingAgent", message: InboundMessage, attempt: int = 1) -> None:
        self.agent = agent
        self.message = message
        self.attempt = attempt
        self.text = ""

    def next_seq(self) -> int:
        seqs = self.agent.memory.seq
        seqs[self.message.session] = seqs.get(self.message.session, 0) + 1
        return seqs[self.message.session]

    @property
    def ids(self) -> dict[str, Any]:
        return {"session": self.message.session, "message_id": self.message.message_id, "seq": self.next_seq()}

    def publish(self, kind: Callable[..., Any], **members: Any) -> None:
        self.agent.bus.publish(kind(**self.ids, **members))

    def say(self, text: str) -> None:
        self.text += text
        ids = self.ids
        self.agent.bus.publish(ChatDelta(ids["session"], ids["message_id"], ids["seq"], text))

    def done(self, finish_reason: str = "stop") -> None:
        self.agent.memory.ended[self.message.message_id] = self.text
        self.publish(ChatDone, text=self.text, finish_reason=finish_reason, usage=Usage())

    def tool(self, name: str, media: tuple[MediaRef, ...] = ()) -> None:
        self.publish(ToolStarted, call_id="c1", name=name, arguments={})
        self.publish(ToolFinished, call_id="c1", is_error=False, duration_ms=1, preview="", media=media)

    def ask(self, approval_id: str, tool: str = "fs_delete_file", **more: Any) -> None:
        self.agent.asked[approval_id] = self
        self.publish(
            ApprovalRequested, approval_id=approval_id, call_id="c1", tool=tool, arguments={"path": "/tmp/x"},
            risk="deletes", expires_at="2099-01-01T00:00:00Z", user=self.message.actor.user, **more,
        )  # fmt: skip

    async def inquire(self, schema: dict[str, Any], message: str = "Which one?", question_id: str = "q1") -> Any:
        """A tool server asks in the middle of a call; the answer, as it gets it."""
        self.agent.questions[question_id] = self
        self.publish(QuestionRequested, question_id=question_id, message=message, schema=schema,
                     user=self.message.actor.user)  # fmt: skip
        await until(lambda: any(answer[0] == question_id for answer in self.agent.answers), 30)
        return next(answer[1:3] for answer in self.agent.answers if answer[0] == question_id)


async def echo(turn: Turn) -> None:
    """Says back what it heard."""
    turn.say(f"You said: {turn.message.text}")
    turn.done()


class TalkingAgent:
    """The acceptor and its turns. `script` runs a turn; `refuse` (errors) are raised instead of accepting."""

    def __init__(self, bus: MemoryBus, memory: Memory, script: Script) -> None:
        self.bus = bus
        self.memory = memory
        self.script = script
        self.refuse: list[Exception] = []
        self.holding: asyncio.Event | None = None
        self.asked: dict[str, Turn] = {}
        self.decisions: list[tuple[str, str, str]] = []
        self.questions: dict[str, Turn] = {}
        self.answers: list[tuple[str, str, Any, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes: dict[SessionKey, asyncio.Lock] = {}

    @property
    def messages(self) -> list[InboundMessage]:
        return list(self.memory.accepted.values())

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    async def accept(self, message: InboundMessage) -> Accepted:
        if self.refuse:
            raise self.refuse.pop(0)
        if self.holding is not None:
            await self.holding.wait()
        key = (message.actor.user, message.idempotency_key or "")
        known = self.memory.by_key.get(key)
        if known is not None and known != message.message_id:
            return Accepted(message_id=known, session=message.session, seq=1, repeated=True)
        self.memory.by_key[key] = message.message_id
        self.memory.accepted[message.message_id] = message
        turn = Turn(self, message)
        turn.publish(ChatMessage, role="user", text=message.text, channel=message.actor.channel, origin=message.origin)
        if message.wants_reply:
            self.begin(turn)
        return Accepted(message_id=message.message_id, session=message.session, seq=1)

    def begin(self, turn: Turn) -> None:
        task = asyncio.get_running_loop().create_task(self._run(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, turn: Turn) -> None:
        async with self._lanes.setdefault(turn.message.session, asyncio.Lock()):
            turn.publish(ChatStarted, mode="fast", model="test", attempt=turn.attempt)
            await self.script(turn)

    def resume(self) -> None:
        """After a crash: unfinished turns begin again."""
        for message in self.messages:
            if message.wants_reply and message.message_id not in self.memory.ended:
                self.begin(Turn(self, message, 2))

    async def outcome(self, session: SessionKey, message_id: str) -> Outcome:
        if message_id in self.memory.ended:
            return Outcome(state="ended", text=self.memory.ended[message_id])
        return Outcome(state="open" if message_id in self.memory.accepted else "unknown")

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        turn = self.asked.pop(approval_id, None)
        if turn is None:
            raise NotFound
        self.decisions.append((approval_id, decision, actor.user))
        turn.publish(ApprovalResolved, approval_id=approval_id, decision=decision, by=actor.user, user=actor.user)
        return True

    async def answer(self, question_id: str, action: str, content: Any, actor: Actor) -> bool:
        turn = self.questions.get(question_id)
        if turn is None or turn.message.actor.user != actor.user:
            raise NotFound("no such question, or it is over")
        if "approve" not in actor.scopes:
            raise Forbidden("this needs the scope approve")
        del self.questions[question_id]
        self.answers.append((question_id, action, content, actor.user))
        return True

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Rig:
    """One gateway's channels on one folder."""

    def __init__(self, folder: Path, sections: dict[str, Any], script: Script = echo, *, pace: float = PACE) -> None:
        self.pace = pace
        self.folder = folder
        self.settings = ChannelsSettings.model_validate(sections)
        self.script = script
        self.memory = Memory()
        self.transcriber: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, *, resume: bool = True) -> "Rig":
        state = Document(self.folder / "identity.json")
        self.users, self.links, self.pairing = Users(state), Links(state), Pairing(state)
        self.gate = Gate(self.settings, self.users, self.links, self.pairing)
        self.media = MediaFolder(self.folder / "media", max_bytes=20_000_000)
        self.bus = MemoryBus()
        self.agent = TalkingAgent(self.bus, self.memory, self.script)
        self.bus.accept_with(self.agent.accept)
        self.manager = ChannelManager(
            self.settings, folder=self.folder, bus=self.bus, gatekeeper=self.gate, media=self.media,
            desk=self.agent, transcriber=self.transcriber, answers=self.agent,
        )  # fmt: skip
        for name in self.manager.states():
            host = self.manager.host(name)
            if host is None:  # not enabled
                continue
            host.supervisor.retry_seconds, host.supervisor.auth_seconds = (0.05, 0.2), (0.2, 0.4)
            host.supervisor._make = quick_channel(host.supervisor._make, self.pace)
        self._task = asyncio.get_running_loop().create_task(self.manager.run())
        if resume:
            self.agent.resume()
        return self

    def state(self, name: str) -> str:
        return str(self.manager.states()[name]["state"])

    async def ready(self, name: str) -> None:
        await until(lambda: self.state(name) == "ready" or (self._task and self._task.done()))
        assert self._task is not None
        if self._task.done():
            self._task.result()

    async def crash(self) -> None:
        """Everything ends at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self.manager.close()
        await self.agent.close()

    async def stop(self) -> None:
        """A clean stop: no more in, what can go out goes."""
        await self.manager.pause()
        async with asyncio.timeout(5):
            await self.manager.drained()
        await self.crash()

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator["Rig"]:
        await self.start()
        try:
            await self.ready(name)
            yield self
        finally:
            await self.crash()


def overloaded(times: int) -> list[Exception]:
    return [Overloaded("busy", retry_after_ms=10) for _ in range(times)]
