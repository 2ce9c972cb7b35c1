"""The desk where people are asked: approvals of tool calls, questions of servers, permissions given for longer.

One for the whole gateway, for every path to a tool. A question belongs to one person (an admin does not answer
for another), is bound to tool, arguments and call, is answered once and expires; one that waits survives a
restart and holds nothing but a future. The guard asks for cloud tools, the tunnel for bridges, where the id is
the bridge's own challenge and the permission is the bridge's to keep. People's answers come from `approval.*`,
`/approve` and the channels' buttons.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from agent.ports.tools import ToolCall
from bus.errors import BadParameters, Forbidden, NotFound, Overloaded
from bus.events import Actor, Decision, JsonObject
from bus.keys import SessionKey
from gateway.tools.asked import Asked
from gateway.tools.grants import Grants
from gateway.tools.store import Store
from gateway.tunnel.hashes import check_signable
from gateway.tunnel.ports import Challenge

CLOUD_SECONDS = 600.0
INPUT_SECONDS = 60.0
MAX_WAITING = 100
"""Questions one person may have open at once."""


@dataclass(slots=True)
class _Open:
    asked: Asked
    answer: "asyncio.Future[tuple[str, str]] | None" = None
    decision: tuple[str, str] | None = None


def _same_question(known: _Open, asked: Asked) -> bool:
    """Whether it is asked on; after a restart a call may have another id, while nobody waits for the answer yet."""
    if (known.asked.user, known.asked.tool, known.asked.arguments) != (asked.user, asked.tool, asked.arguments):
        return False
    return known.asked.call_id == asked.call_id or known.answer is None


class ApprovalDesk:
    """Implements `agent.ports.Approvals`, `gateway.tunnel.ports.Desk` and the methods' `Asking`."""

    def __init__(self, store: Store, *, cloud_seconds: float = CLOUD_SECONDS) -> None:
        self.cloud_seconds = cloud_seconds
        self.permissions = Grants(store)
        self._store = store
        self._closing = False
        self._open: dict[str, _Open] = {}
        self._questions: dict[str, tuple[str, asyncio.Future[JsonObject]]] = {}
        # An expired one is kept for a day: that it is still there says that its call was never made.
        store.write("DELETE FROM approvals WHERE expires < ? OR state = 'over'", (time.time() - 86_400,))
        for row in store.read(
            "SELECT approval_id, user, call_id, tool, digest, arguments, risk, expires, place, session, message_id, "
            "decision, by FROM approvals"
        ):
            self._restore(row)

    def _restore(self, row: tuple[object, ...]) -> None:
        approval_id, user, call_id, tool, digest, arguments, risk, expires, place, session, message_id, decision, by = (
            row
        )
        asked = Asked(
            approval_id=str(approval_id), user=str(user), call_id=str(call_id), tool=str(tool), digest=str(digest),
            arguments=orjson.loads(bytes(arguments)),  # type: ignore[call-overload]  # a blob, as it was written
            risk=str(risk), expires=float(str(expires)), where=None if place is None else str(place),
            session=None if session is None else SessionKey.from_identity(str(session)), message_id=str(message_id),
        )  # fmt: skip
        self._open[asked.approval_id] = _Open(asked, decision=None if decision is None else (str(decision), str(by)))

    # ------------------------------------------------------------ asking

    def waiting_for(self, call: ToolCall, digest: str) -> Asked | None:
        """The question that this very call asked before a restart, expired or not, or None.

        The id of a call is its turn's: models count their calls anew in each.
        """
        this = (call.actor.user, call.session, call.message_id, call.call_id, digest)
        for open_ in self._open.values():
            asked = open_.asked
            if (asked.user, asked.session, asked.message_id, asked.call_id, asked.digest) == this:
                return asked
        return None

    async def ask(self, asked: Asked, announce: Callable[[], None]) -> tuple[str, str]:
        """Wait for the person: one of the four decisions or `expired`, and who said it.

        `announce` is called when the question is kept and can be answered.

        Raises Overloaded where too many questions of this person are open, or the disk refuses.
        """
        open_ = self._open.get(asked.approval_id)
        if open_ is None:
            now = time.time()
            mine = [o for o in self._open.values() if o.asked.user == asked.user and o.asked.expires > now]
            if len(mine) >= MAX_WAITING:
                raise Overloaded("too many questions wait for you")
            open_ = self._open[asked.approval_id] = _Open(asked)
            try:
                await self._keep(asked)
            except BaseException:  # cancelled, too: what was not kept cannot be answered
                self._open.pop(asked.approval_id, None)
                raise
        announce()
        if open_.answer is None:
            open_.answer = asyncio.get_running_loop().create_future()
            if open_.decision is not None:
                open_.answer.set_result(open_.decision)
        try:
            left = max(0.0, asked.expires - time.time())
            done, _ = await asyncio.wait({open_.answer}, timeout=left)
            answer = open_.answer.result() if done else ("expired", "")
        except asyncio.CancelledError:
            if self._closing:
                open_.answer = None  # it waits for the turn to go on after the restart
            else:
                await asyncio.shield(self._over(asked.approval_id))
            raise
        self._open.pop(asked.approval_id, None)
        # Before the call is made: where this question is found again after a restart, the call was not. A bridge
        # spends its challenges itself.
        with contextlib.nullcontext() if asked.digest else contextlib.suppress(Overloaded):
            await self._store.put("DELETE FROM approvals WHERE approval_id = ?", (asked.approval_id,))
        return answer

    async def _keep(self, asked: Asked) -> None:
        await self._store.put(
            "INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', NULL, NULL)",
            (
                asked.approval_id, asked.user, asked.call_id, asked.tool, asked.digest, orjson.dumps(asked.arguments),
                asked.risk, asked.expires, asked.where, asked.session.identity if asked.session else None,
                asked.message_id,
            ),
        )  # fmt: skip

    async def _over(self, approval_id: str) -> None:
        """Spent: it answers nothing any more."""
        self._open.pop(approval_id, None)
        with contextlib.suppress(Overloaded):
            await self._store.put("DELETE FROM approvals WHERE approval_id = ?", (approval_id,))

    def closing(self) -> None:
        """The gateway stops: what waits is kept for the turn that goes on, and not given up."""
        self._closing = True

    # ------------------------------------------------------------ bridges

    async def ask_for_bridge(self, challenge: Challenge, announce: Callable[[], None]) -> tuple[Decision | None, str]:
        """A bridge's question; what is allowed for longer is noted here and kept there."""
        asked = Asked(
            approval_id=challenge.approval_id, user=challenge.actor.user, call_id=challenge.call_id,
            tool=challenge.tool, digest="", arguments=challenge.arguments, risk=challenge.risk,
            expires=challenge.expires, where=challenge.where, session=challenge.session,
            message_id=challenge.message_id,
        )  # fmt: skip
        known = self._open.get(asked.approval_id)
        if known is not None and not _same_question(known, asked):
            return "deny", ""  # an id of somebody else's question, or of another call: one yes is for one call
        decision, by = await self.ask(asked, announce)
        if decision in ("allow_session", "allow_always") and by != "bridge":
            session = "" if challenge.session is None else challenge.session.identity
            if decision == "allow_always" or session:
                await self.permissions.give(
                    asked.user, asked.tool, decision, session, bridge_id=challenge.bridge_id,
                    own_tool=challenge.own_tool,
                )  # fmt: skip
        match decision:
            case "allow_once" | "allow_session" | "allow_always" | "deny":
                return decision, by
            case _:
                return None, ""

    def settled_elsewhere(self, asked_id: str, decision: str) -> None:
        """The bridge went on by itself."""
        open_ = self._open.get(asked_id)
        if open_ is not None and open_.answer is not None and not open_.answer.done():
            open_.answer.set_result((decision, "bridge" if decision != "expired" else ""))
        question = self._questions.get(asked_id)
        if question is not None and not question[1].done():
            question[1].set_result({"action": "cancel"})

    async def ask_input(self, question_id: str, actor: Actor, seconds: float = INPUT_SECONDS) -> JsonObject:
        """Wait for the answer to an elicitation; silence cancels, and so does one question too many."""
        if sum(user == actor.user for user, _ in self._questions.values()) >= MAX_WAITING:
            return {"action": "cancel"}
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._questions[question_id] = (actor.user, future)
        try:
            done, _ = await asyncio.wait({future}, timeout=seconds)
            return future.result() if done else {"action": "cancel"}
        finally:
            self._questions.pop(question_id, None)

    # ------------------------------------------------------------ people's answers

    async def pending(self, actor: Actor) -> Sequence[JsonObject]:
        """`approval.list`: what waits for this person."""
        now = time.time()
        return [
            open_.asked.public()
            for open_ in self._open.values()
            if open_.asked.user == actor.user and open_.decision is None and open_.asked.expires > now
        ]

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        """Answer a question. Raises NotFound where it isn't this person's or is over, Forbidden (nothing is spent)."""
        if decision not in ("allow_once", "allow_session", "allow_always", "deny"):
            raise BadParameters("a decision is allow_once, allow_session, allow_always or deny")
        open_ = self._open.get(approval_id)
        over = open_ is None or open_.decision is not None or open_.asked.expires <= time.time()
        if open_ is None or over or open_.asked.user != actor.user:
            raise NotFound("no such approval, or it is over")
        if "approve" not in actor.scopes:
            raise Forbidden("this needs the scope approve")
        if open_.asked.where == "bridge" and decision != "deny":
            raise Forbidden("only the terminal of the bridge may allow this: ai-bridge approve " + approval_id)
        open_.decision = (decision, actor.user)
        try:
            await self._store.put(
                "UPDATE approvals SET decision = ?, by = ? WHERE approval_id = ?", (decision, actor.user, approval_id)
            )
        except Overloaded:
            open_.decision = None
            raise
        except asyncio.CancelledError:
            _tell(open_)  # he has said it, whatever became of his connection; the writing goes on in its thread
            raise
        _tell(open_)
        return True

    async def answer(self, question_id: str, action: str, content: JsonObject | None, actor: Actor) -> bool:
        """`question.answer`. Raises NotFound, and BadParameters for what no bridge would get as it is."""
        question = self._questions.get(question_id)
        if question is None or question[0] != actor.user or question[1].done():
            raise NotFound("no such question, or it is over")
        if "approve" not in actor.scopes:
            raise Forbidden("this needs the scope approve")
        check_signable(content)
        question[1].set_result({"action": action} if content is None else {"action": action, "content": content})
        return True

    async def grants(self, actor: Actor) -> Sequence[JsonObject]:
        """`approval.grants`: `{grant_id, tool, scope, since}`."""
        return await self.permissions.of(actor)

    async def revoke(self, grant_id: str, actor: Actor) -> bool:
        """`approval.revoke`. Raises NotFound."""
        return await self.permissions.revoke(grant_id, actor)

    async def session_ended(self, session: SessionKey) -> None:
        """`/new` or a deletion: what was allowed for the session ends, and what waits in it is over."""
        await self.permissions.session_ended(session)
        for approval_id, open_ in list(self._open.items()):
            if open_.asked.session == session and open_.answer is None:
                await self._over(approval_id)

    async def forget(self, user: str) -> None:
        """He is gone: what he was asked is a no, and what he had allowed ends. Raises Overloaded."""
        for approval_id, open_ in list(self._open.items()):
            if open_.asked.user == user and open_.answer is None:
                await self._over(approval_id)
            elif open_.asked.user == user:
                open_.decision = open_.decision or ("deny", "")
                _tell(open_)
        await self._store.put("DELETE FROM approvals WHERE user = ?", (user,))
        await self.permissions.forget(user)

    async def lend(self, user: str, session: SessionKey, on: bool) -> None:
        """`/bridge on` and `/bridge off` in a group, for the speaker alone."""
        await self.permissions.lend(user, session, on)


def _tell(open_: _Open) -> None:
    """The decision to whoever waits for it."""
    if open_.answer is not None and open_.decision is not None and not open_.answer.done():
        open_.answer.set_result(open_.decision)
