"""The one way to any tool, for the model, sub-agents, schedules, slash commands and `tools.call`.

Itself a `ToolSource` over others: cloud tools first, whose names are reserved, then bridges. It routes by table,
applies policy, dangerous words, scopes and the rule for groups, asks through the approval desk, and records
intent and outcome. A bridge's tools are asked about by the bridge. It never looks at who the caller claims to be
beyond the actor, which comes from the stored token.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from agent.ports.tools import (
    ApprovalAnswered,
    ApprovalAsked,
    Policy,
    Report,
    ToolCall,
    ToolResult,
    ToolSource,
    ToolSpec,
)
from bridge.audit.shape import shape
from bridge.errors import BridgeError
from bridge.policy import dangerous_word, strictest
from bus.context import new_id, timestamp
from bus.deadline import Deadline
from bus.errors import (
    ConfirmationRequired,
    Forbidden,
    GatewayError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ToolDenied,
    Unsignable,
)
from bus.events import Actor, JsonObject
from bus.keys import KeyKind, SessionKey, take_apart
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.asked import Asked
from gateway.tunnel.hashes import hash_of
from gateway.tunnel.ports import Trail

Rule: TypeAlias = Callable[[Actor, ToolSpec], Policy]
"""The gateway's own policy for a tool and a person; the strictest of all rules and the tool's own holds."""

_log = logging.getLogger(__name__)


class Guard:
    """`sources` in the order of their right to a name. `platforms` are the channels that have groups.

    `standing` says whether the actor may still use tools: a turn may be older than what became of its user.
    """

    def __init__(
        self, sources: Sequence[ToolSource], *, desk: ApprovalDesk, trail: Trail, platforms: frozenset[str],
        rules: Sequence[Rule] = (), standing: Callable[[Actor], bool] = lambda actor: True,
    ) -> None:  # fmt: skip
        self.calls = 0
        self.refused = 0
        self._sources = tuple(sources)
        self._desk = desk
        self._trail = trail
        self._platforms = platforms
        self._rules = tuple(rules)
        self._standing = standing
        self._reported: set[tuple[str, str]] = set()

    async def list_tools(self, actor: Actor, session: SessionKey | None = None) -> Sequence[ToolSpec]:
        """What this person may see. With `session`, as it is there: a group where bridges are not lent has none."""
        found = [spec for spec, _ in (await self._table(actor)).values()]
        bridges = self._bridges_in(actor, session)
        return found if bridges else [spec for spec in found if spec.source != "bridge"]

    async def find(self, actor: Actor, name: str) -> ToolSpec | None:
        """One tool as its source has it, or None."""
        try:
            return (await self._find(actor, name))[0]
        except NotFound:
            return None

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        """Run one call, if it may. Raises GatewayError with its effect."""
        self.calls += 1
        try:
            return await self._call(call, deadline, report)
        except GatewayError:
            self.refused += 1
            raise

    async def _call(self, call: ToolCall, deadline: Deadline, report: Report) -> ToolResult:
        spec, source = await self._reach(call)
        hashed = _hashed(call)
        word = dangerous_word(call.name, call.arguments)
        if word is not None:
            _log.warning("a tool call with a dangerous word: %s", word, extra={"tool": call.name})
        policy = self._not_denied(call, spec, hashed)
        if call.repeated and spec.source == "cloud" and not (spec.read_only or spec.idempotent):
            self._still_asking(call, hashed)
        if self._asks_here(call, spec, policy, word, hashed):
            await self._ask(call, hashed, word, source, deadline, report)
        await self._intend(call, hashed, harmless=spec.read_only or spec.idempotent)
        return await self._run(call, source, deadline, report)

    async def _reach(self, call: ToolCall) -> tuple[ToolSpec, ToolSource]:
        """The tool, where this person may have tools there. Raises Forbidden, NotFound, ToolDenied."""
        if "tools" not in call.actor.scopes:
            raise Forbidden("this needs the scope tools")
        if not self._standing(call.actor):
            raise Forbidden("this user may not use tools any more")
        spec, source = await self._find(call.actor, call.name)
        if spec.source == "bridge" and not self._bridges_in(call.actor, call.session):
            raise ToolDenied("tools of your computer are off in this group: say /bridge on here to lend them")
        return spec, source

    def _not_denied(self, call: ToolCall, spec: ToolSpec, hashed: str) -> Policy:
        """Whether it is asked about. Raises ToolDenied."""
        policy = self._policy(call.actor, spec)
        if policy == "deny":
            self._trail.note("tool.denied", **self._facts(call, hashed))
            raise ToolDenied(f"{call.name} is denied here")
        return policy

    async def _run(self, call: ToolCall, source: ToolSource, deadline: Deadline, report: Report) -> ToolResult:
        begun = time.monotonic()
        outcome: JsonObject = {"effect": "unknown"}
        try:
            result = await source.call(call, deadline=deadline, report=report)
            outcome = {"effect": result.effect, "is_error": result.is_error}
            return result
        except GatewayError as error:
            outcome = {"effect": error.effect, "code": error.code}
            raise
        except asyncio.CancelledError:
            outcome = {"effect": "unknown", "code": 1009}
            raise
        finally:
            took = int((time.monotonic() - begun) * 1000)
            self._trail.note(
                "tool.outcome", user=call.actor.user, call_id=call.call_id, tool=call.name, duration_ms=took, **outcome
            )

    # ------------------------------------------------------------ what there is

    async def _find(self, actor: Actor, name: str) -> tuple[ToolSpec, ToolSource]:
        """The first source that has the name. A source may find one tool without listing all. Raises NotFound."""
        for source in self._sources:
            finder: Callable[[Actor, str], ToolSpec | None] | None = getattr(source, "find_tool", None)
            if finder is not None:
                spec = finder(actor, name)
            else:
                spec = next((item for item in await source.list_tools(actor) if item.name == name), None)
            if spec is not None:
                return spec, source
        raise NotFound(f"no such tool: {name[:64]}")

    async def _table(self, actor: Actor) -> dict[str, tuple[ToolSpec, ToolSource]]:
        """Name → tool and source. A name that a source before has taken is not given again."""
        table: dict[str, tuple[ToolSpec, ToolSource]] = {}
        for source in self._sources:
            for spec in await source.list_tools(actor):
                if spec.name in table:
                    if (actor.user, spec.name) not in self._reported:
                        self._reported.add((actor.user, spec.name))
                        _log.warning("a tool was refused: its name is taken", extra={"tool": spec.name})
                    continue
                table[spec.name] = (self._shown(actor, spec), source)
        return table

    def _shown(self, actor: Actor, spec: ToolSpec) -> ToolSpec:
        policy = self._policy(actor, spec)
        if spec.source == "cloud" and policy == "allow" and dangerous_word(spec.name, None) is not None:
            policy = "ask"
        if policy == spec.policy:
            return spec
        return replace(spec, policy=policy)

    def _policy(self, actor: Actor, spec: ToolSpec) -> Policy:
        if not self._rules:
            return spec.policy
        return strictest(spec.policy, *(rule(actor, spec) for rule in self._rules))

    def _bridges_in(self, actor: Actor, session: SessionKey | None) -> bool:
        """Whether a person's bridges work there: in a group not before that person has said `/bridge on`."""
        if session is None:
            return True
        if take_apart(session.text, self._platforms).kind is not KeyKind.GROUP or session.scope:
            return True
        return self._desk.permissions.lent(actor.user, session)

    # ------------------------------------------------------------ asking

    async def _ask(
        self, call: ToolCall, hashed: str, word: str | None, source: ToolSource, deadline: Deadline, report: Report
    ) -> None:
        """Return when the person said yes, and it may still be done. Raises GatewayError.

        A tool whose definition changed is another tool than the one that was granted.
        """
        user = call.actor.user
        changed: Callable[[str], bool] = getattr(source, "changed", lambda name: False)
        if word is None and not changed(call.name) and self._desk.permissions.granted(user, call.name, call.session):
            return
        if not call.attended or call.actor.role == "service":
            raise ConfirmationRequired("this call needs a person's yes, and nobody is there to ask")
        digest = _digest(call, hashed)
        asked = self._desk.waiting_for(call, digest) or Asked(
            approval_id=new_id("ap"), user=user, call_id=call.call_id, tool=call.name, digest=digest,
            arguments=call.arguments, risk=f"'{word}' is a dangerous word" if word else "this tool asks first",
            expires=time.time() + self._desk.cloud_seconds, session=call.session, message_id=call.message_id,
        )  # fmt: skip
        update = ApprovalAsked(
            approval_id=asked.approval_id, tool=asked.tool, arguments=asked.arguments, risk=asked.risk,
            expires_at=timestamp(asked.expires),
        )  # fmt: skip
        deadline.pause()
        try:
            decision, by = await self._desk.ask(asked, lambda: report(update))
        finally:
            deadline.resume()
        report(ApprovalAnswered(approval_id=asked.approval_id, decision=decision, by=by))
        self._trail.note("tool.decided", decision=decision, by=by, **self._facts(call, hashed))
        if decision not in ("allow_once", "allow_session", "allow_always"):
            raise ToolDenied("nobody allowed it in time" if decision == "expired" else "the person said no")
        spec, _ = await self._reach(call)  # a rule, a loan or the person's rights may have changed meanwhile
        self._not_denied(call, spec, hashed)
        agree: Callable[[str], None] = getattr(source, "agree", lambda name: None)
        agree(call.name)
        if word is None and decision != "allow_once" and (decision == "allow_always" or call.session is not None):
            session = "" if call.session is None else call.session.identity
            await self._desk.permissions.give(user, call.name, decision, session)

    def _asks_here(self, call: ToolCall, spec: ToolSpec, policy: Policy, word: str | None, hashed: str) -> bool:
        """Whether the person is asked by the gateway; a bridge asks about its tools itself, where it wants to.

        What comes a second time is with the bridge already, which knows its keys, unless its question still stands.
        """
        if spec.source == "cloud":
            return policy == "ask" or word is not None
        if policy != "ask" or spec.policy == "ask":
            return False
        if not call.repeated:
            return True
        return self._desk.waiting_for(call, _digest(call, hashed)) is not None

    def _still_asking(self, call: ToolCall, hashed: str) -> None:
        """A call of before a restart that may not be made twice: its question is there, so it was not made.

        A question is taken away, on the disk, before its call is made. Raises OutcomeUnknown where it is gone.
        """
        if self._desk.waiting_for(call, _digest(call, hashed)) is None:
            raise OutcomeUnknown("the gateway was restarted while this call was under way")

    async def _intend(self, call: ToolCall, hashed: str, *, harmless: bool) -> None:
        """No audit record, no call; only what may be repeated or only reads does not wait for the disk."""
        facts = self._facts(call, hashed)
        if harmless:
            self._trail.note("tool.intent", **facts)
            return
        try:
            await self._trail.intent("tool.intent", **facts)
        except Exception as error:  # whatever keeps the record from being written, the call must not happen
            raise Overloaded("the audit log can't be written, so nothing is done", retry_after_ms=5000) from error

    def _facts(self, call: ToolCall, hashed: str) -> JsonObject:
        facts: JsonObject = {
            "user": call.actor.user, "channel": call.actor.channel, "call_id": call.call_id, "tool": call.name,
            "arguments_sha256": hashed, "shape": shape(call.arguments),
        }  # fmt: skip
        if call.session is not None:
            facts["session_key"] = call.session.text
        return facts


def _digest(call: ToolCall, hashed: str) -> str:
    """What an approval is bound to, beside the call."""
    return f"{call.name}\0{hashed}"


def _hashed(call: ToolCall) -> str:
    """The hash of the arguments. Raises Unsignable for arguments that are no plain JSON."""
    try:
        return hash_of(call)
    except BridgeError as error:
        raise Unsignable(error.message) from error
