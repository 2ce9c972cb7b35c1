"""What the slash commands do: each calls the function behind its RPC twin, with the same authorisation.

`acceptor.py` recognises a command and records it; `bus/commands.py` is the list with its
help. What needs the gateway (pairing, deliveries, bridges, usage) goes through the
`Administration` port. Answers are in the speaker's language.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.acceptor import Acceptor
from agent.modes.choose import MODES
from agent.ports.people import Administration, Linker
from agent.ports.sessions import SessionHead, SessionStore
from agent.ports.tools import Approvals, GuardedTools
from agent.sessions import records as kinds
from bus import commands as registry
from bus.commands import Command
from bus.errors import BadParameters, Forbidden, NotFound
from bus.events import Actor, Decision, InboundMessage
from bus.wording import word

SHOWN = 15
QUEUES = ("followup", "collect", "steer", "interrupt")


class SessionList(Protocol):
    """What `/sessions` reads."""

    async def list_sessions(
        self, owner: str | None, *, limit: int, cursor: str | None = None, channel: str | None = None
    ) -> tuple[Sequence[SessionHead], str | None]: ...


class Memory(Protocol):
    """What `/memory` shows and forgets."""

    async def notes(self, user: str) -> Sequence[str]: ...

    async def forget(self, user: str, words: str) -> int: ...


@dataclass(slots=True)
class CommandRunner:
    """Does what a command says; the result is the answer's text."""

    store: SessionStore
    sessions: SessionList
    tools: GuardedTools
    approvals: Approvals
    administration: Administration
    linker: Linker
    memory: Memory | None = None

    async def __call__(self, loop: Acceptor, command: Command, arguments: str, message: InboundMessage) -> str:
        """Run it. Raises GatewayError; its message is then the answer."""
        actor = message.actor
        if command.admin and "admin" not in actor.scopes:
            raise Forbidden(_say(actor, "this command is for admins", "此命令仅限管理员"))
        if command.scope and not command.admin and command.scope not in actor.scopes:
            raise Forbidden(_say(actor, f"you may not use /{command.name}", f"你无权使用 /{command.name}"))
        own: dict[str, Callable[[Acceptor, str, InboundMessage], Awaitable[str]]] = {
            "new": self._new, "stop": self._stop, "status": self._status, "help": self._help,
            "start": self._start, "sessions": self._sessions, "tools": self._tools, "mode": self._mode,
            "queue": self._queue, "last": self._last,
            "approve": self._approve, "deny": self._deny, "approvals": self._approvals, "memory": self._memory,
            "link": self._link,
        }  # fmt: skip
        handler = own.get(command.name)
        if handler is not None:
            return await handler(loop, arguments, message)
        return await self.administration.command(command.name, arguments, actor, message.session)

    async def _new(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        await loop.stop_all(message.session)
        await self.approvals.session_ended(message.session)
        if await self.store.state(message.session) is not None:
            try:
                await loop.update(message.session, {"reset": True})
            except NotFound:
                pass  # deleted: the next message begins it anew
        return _say(message.actor, "A new conversation begins.", "新的对话开始了。")

    async def _stop(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        stopped = await loop.abort(user=message.actor.user, key=message.session)
        if stopped:
            return _say(message.actor, "Stopped.", "已停止。")
        return _say(message.actor, "Nothing is running.", "当前没有正在进行的回答。")

    async def _status(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        actor = message.actor
        state = await self.store.state(message.session)
        count = 0 if state is None else state.head.message_count
        mode = "auto" if state is None else state.head.settings.get("mode", "auto")
        running = loop.running(message.session)
        what = _say(actor, "answering" if running else "idle", "正在回答" if running else "空闲")
        lines = [
            _say(actor, f"Session: {message.session.text}", f"会话：{message.session.text}"),
            _say(
                actor, f"State: {what} · {count} messages · mode {mode}", f"状态：{what} · {count} 条消息 · 模式 {mode}"
            ),
        ]
        extra = await self.administration.command("status", arguments, actor, message.session)
        return "\n".join([*lines, extra] if extra else lines)

    async def _help(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        return registry.help_text(message.actor.language, admin="admin" in message.actor.scopes)

    async def _start(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        return registry.greeting(message.actor.language, admin="admin" in message.actor.scopes)

    async def _sessions(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        registry.for_its_speaker_alone(message.session, message.actor.language)
        heads, _ = await self.sessions.list_sessions(message.actor.user, limit=SHOWN)
        if not heads:
            return _say(message.actor, "No conversations yet.", "还没有会话。")
        return "\n".join(f"- {head.title or head.key.text} (`{head.key.text}`, {head.message_count})" for head in heads)

    async def _tools(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        specs = await self.tools.list_tools(message.actor, message.session)
        if not specs:
            return _say(message.actor, "No tools.", "没有可用的工具。")
        language, away = message.actor.language, _say(message.actor, "away", "离线")
        lines = []
        for spec in specs:
            state = word(spec.policy, language) + ("" if spec.available else f", {away}")
            about = f" – {spec.description.splitlines()[0][:100]}" if spec.description else ""
            lines.append(f"- `{spec.name}` ({state}){about}")
        return "\n".join(lines)

    async def _mode(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        wanted = arguments.strip().lower()
        if not wanted:
            state = await self.store.state(message.session)
            mode = "auto" if state is None else state.head.settings.get("mode", "auto")
            started = await self.store.read(
                message.session, types=frozenset({kinds.TURN_STARTED}), limit=1, newest=True
            )
            last = started[-1].data if started else {}
            reason = f" ({last.get('reason')})" if last.get("reason") else ""
            shown = f"{last.get('mode', '–')}{reason}"
            return _say(message.actor, f"Mode: {mode}. The last answer: {shown}.", f"模式：{mode}。上一次：{shown}。")
        if wanted not in MODES:
            raise BadParameters(_say(message.actor, f"one of {', '.join(MODES)}", f"可选：{', '.join(MODES)}"))
        await loop.configure(message, {"mode": wanted})
        return _say(message.actor, f"Mode: {wanted}.", f"模式：{wanted}。")

    async def _queue(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        wanted = arguments.strip().lower()
        if not wanted:
            queue = loop.queue_mode(message.session)
            return _say(message.actor, f"Queue: {queue}.", f"排队方式：{queue}。")
        if wanted not in QUEUES:
            raise BadParameters(_say(message.actor, f"one of {', '.join(QUEUES)}", f"可选：{', '.join(QUEUES)}"))
        await loop.configure(message, {"queue": wanted})
        return _say(message.actor, f"Queue: {wanted}.", f"排队方式：{wanted}。")

    async def _last(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        ends = await self.store.read(message.session, types=frozenset({kinds.DONE}), limit=20, newest=True)
        for record in reversed(ends):
            if not record.data.get("command") and record.data.get("text"):
                return str(record.data["text"])
        return _say(message.actor, "There is no answer yet.", "还没有回答。")

    async def _approve(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        words = arguments.split()
        decisions: dict[str, Decision] = {"once": "allow_once", "session": "allow_session", "always": "allow_always"}
        if not words or (len(words) > 1 and words[1].lower() not in decisions):
            raise BadParameters("/approve ID [once|session|always]")
        decision = decisions[words[1].lower()] if len(words) > 1 else "allow_once"
        return await self._resolve(words[0], decision, message)

    async def _deny(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        if not arguments.strip():
            raise BadParameters("/deny ID")
        return await self._resolve(arguments.split()[0], "deny", message)

    async def _resolve(self, approval_id: str, decision: Decision, message: InboundMessage) -> str:
        await self.approvals.resolve(approval_id, decision, message.actor)
        if decision == "deny":
            return _say(message.actor, "Denied.", "已拒绝。")
        return _say(message.actor, "Allowed.", "已允许。")

    async def _approvals(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        words = arguments.split()
        if words and words[0].lower() == "revoke" and len(words) == 2:
            if not await self.approvals.revoke(words[1], message.actor):
                raise NotFound(_say(message.actor, "no such grant", "没有这项授权"))
            return _say(message.actor, "Revoked.", "已撤销。")
        registry.for_its_speaker_alone(message.session, message.actor.language)
        grants = await self.approvals.grants(message.actor)
        if not grants:
            return _say(message.actor, "You have allowed nothing for longer than one call.", "没有长期授权。")
        return "\n".join(f"- `{g['grant_id']}` {g['tool']} ({g['scope']}, {g['since']})" for g in grants)

    async def _memory(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        if self.memory is None:
            return _say(message.actor, "There is no memory here.", "没有启用记忆。")
        word, _, rest = arguments.strip().partition(" ")
        if word.lower() == "forget" and rest.strip():
            gone = await self.memory.forget(message.actor.user, rest.strip())
            return _say(message.actor, f"Forgotten: {gone}.", f"已删除 {gone} 条。")
        registry.for_its_speaker_alone(message.session, message.actor.language)
        notes = await self.memory.notes(message.actor.user)
        if not notes:
            return _say(message.actor, "I remember nothing of you.", "没有关于你的记忆。")
        return "\n".join(f"- {note}" for note in notes)

    async def _link(self, loop: Acceptor, arguments: str, message: InboundMessage) -> str:
        user = await self.linker.link(arguments.strip(), message.actor)
        return _say(message.actor, f"Linked: you are now {user} here.", f"已关联：你在这里的用户是 {user}。")


def _say(actor: Actor, english: str, chinese: str) -> str:
    return chinese if actor.language.startswith("zh") else english
