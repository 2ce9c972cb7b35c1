"""One call from its request to its answer: permission, intent, the server.

`calls.py` stands above and keeps the books; below are policy, confirmations, ledger, audit and the aggregator.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from bridge.answers import public_name, refusal, response, server_params
from bridge.audit.shape import shape
from bridge.clock import CallClock
from bridge.confirm import Confirmations, Question
from bridge.definitions import Definitions
from bridge.errors import BridgeError, Effect, Forbidden, McpError, NotFound, OutcomeUnknown, Overloaded, ToolDenied
from bridge.ledger import Ledger
from bridge.ledger_rows import Row
from bridge.policy import Verdict, decide, idempotent, unconditional
from bridge.ports import Audit, Executor, JsonObject, Posted, Route
from bridge.protocol.bridge_effects import Requested
from bridge.protocol.outbox import Answer, Outbox
from bridge.questions import Questions
from bridge.settings import PolicyName, PolicySettings

METHODS = frozenset({"tools/call", "resources/read", "prompts/get"})
_RESTART_SECONDS = 0.05
_STARTING_SECONDS = 0.05
_LOG = logging.getLogger("bridge.calls")


@dataclass(slots=True)
class LiveCall:
    """A call under way. `ids` are all the ids it was asked under; `started`: the effect may have begun.
    `reached`: a server had it, and died.

    `phase`: of its task, where it has one: not at its first step yet, at work, or writing down what came of it.
    """

    request: Requested
    content: str
    clock: CallClock
    ids: list[str]
    phase: Literal["waiting", "running", "ending"] = "waiting"
    started: bool = False
    reached: bool = False
    cancelled: bool = False
    idempotent: bool = False
    task: "asyncio.Task[None] | None" = None
    posted: Posted | None = None
    """Where it runs without a task (`quick.py`)."""
    question: str = ""

    def row(self, state: str, answer: Answer | None = None, effect: Effect = "none") -> Row:
        """As the ledger keeps it."""
        request = self.request
        return Row(request.id, self.content, public_name(request), state, answer, effect)

    def ended_by(self, error: BridgeError) -> BridgeError:
        """What to say of it: where nothing came of it this time, a server may have died in it before."""
        return OutcomeUnknown(error.message, effect="unknown") if self.reached and error.effect == "none" else error


@dataclass(slots=True, kw_only=True)
class Parts:
    """What calls stand on."""

    executor: Executor
    ledger: Ledger
    confirmations: Confirmations
    definitions: Definitions
    audit: Audit
    outbox: Outbox
    policy: Callable[[], PolicySettings]
    max_result_bytes: int = field(default=32 * 1024 * 1024)


class Execution:
    """Runs calls. `progress` tells how one goes; `refuse` sends back a frame that ends no call."""

    def __init__(
        self, parts: Parts, questions: Questions, progress: Callable[[LiveCall, JsonObject], None],
        refuse: Callable[[BridgeError], None],
    ) -> None:  # fmt: skip
        self._parts = parts
        self._questions = questions
        self._progress = progress
        self._refuse = refuse
        self._verdicts: dict[str, tuple[Route, PolicyName, bool]] = {}

    async def answer(self, call: LiveCall, route: Route | None) -> Answer:
        request = call.request
        if request.method not in METHODS:
            raise ToolDenied("this bridge has no such operation")
        if route is None:
            route = await self._wait_for_route(call)
        if route is None:
            raise ToolDenied("no such server here") if request.server else NotFound("no such tool here")
        name = public_name(request)
        await self._permit(call, route, name)
        params = server_params(request)
        await self._intend(call, name)
        longest = self._parts.max_result_bytes
        while True:
            try:
                result = await self._parts.executor.request(
                    request.server if request.method == "resources/read" and request.server else name,
                    request.method, params, call.clock.remaining(),
                    lambda payload: self._progress(call, payload),
                    lambda question: self.ask_input(call, question),
                )  # fmt: skip
            except McpError as error:
                return refusal(request.id, error, longest)
            except OutcomeUnknown as error:
                call.reached = True
                if call.idempotent and call.clock.remaining() > 0:
                    await asyncio.sleep(_RESTART_SECONDS)
                    continue
                raise OutcomeUnknown("the MCP server stopped in the middle of this call", effect="unknown") from error
            return response(request.id, "result", result, longest)

    async def _wait_for_route(self, call: LiveCall) -> Route | None:
        """A name that leads nowhere may belong to a server that is only starting: the bridge has just begun, too."""
        executor, request = self._parts.executor, call.request
        name = _route_name(request)
        while name and call.clock.remaining() > 0:
            route = executor.route(name, request.method)
            if route is not None:
                call.idempotent = idempotent(route.rules, route.own_name)
                return route
            if not any(server.get("state") == "starting" for server in executor.catalogue().get("servers", ())):
                return None
            await asyncio.sleep(_STARTING_SECONDS)
        return None

    def allowed(self, route: Route, name: str) -> bool:
        """Whether every call of this tool may run, whatever its arguments: known from the last time, mostly."""
        default = self._parts.policy().default
        known = self._verdicts.get(name)
        if known is None or known[0] is not route or known[1] != default:
            verdict = unconditional(route.rules, default, name, route.own_name)
            known = self._verdicts[name] = (route, default, verdict is not None and verdict.policy == "allow")
        return known[2] and not (route.definition and self._parts.definitions.changed(name, route.definition))

    async def _permit(self, call: LiveCall, route: Route, name: str) -> None:
        """Return where the call may run. Raises ToolDenied."""
        if self.allowed(route, name):
            return
        parts, request = self._parts, call.request
        arguments = request.params.get("arguments") or {}
        if request.method == "resources/read":
            arguments = {"uri": request.params.get("uri")}
        verdict = decide(route.rules, parts.policy().default, name, route.own_name, arguments)
        changed = bool(route.definition) and parts.definitions.changed(name, route.definition)
        if verdict.policy == "allow" and changed:
            parts.audit.note("tool.changed", tool=name, definition=route.definition)
            verdict = Verdict("ask", "the tool is not what it was when it was allowed")
        if verdict.dangerous is not None:
            _LOG.warning("a call with a dangerous word: %s", verdict.dangerous, extra={"tool": name})
        if verdict.policy == "deny":
            raise ToolDenied(verdict.reason)
        user, session = str(request.actor["user"]), str(request.actor.get("session_key") or "")
        granted = verdict.dangerous is None and not changed and parts.confirmations.granted(user, name, session)
        if verdict.policy == "allow" or granted:
            return
        question = Question(
            call_id=request.id, tool=name, content=call.content, arguments=arguments, user=user, session=session,
            risk=verdict.reason, dangerous=verdict.dangerous is not None,
        )  # fmt: skip
        if request.confirm is None or not await self._redeemed(request.confirm, question):
            parts.ledger.received(request.key, call.row("received"))
            call.clock.pause()
            try:
                await parts.confirmations.ask(question, lambda payload: self._progress(call, payload))
            finally:
                call.clock.resume()
            # The person may have edited his rules while he was asked.
            now = parts.executor.route(_route_name(request), request.method) or route
            verdict = decide(now.rules, parts.policy().default, name, now.own_name, arguments)
            if verdict.policy == "deny":
                raise ToolDenied(verdict.reason)
        if route.definition:
            parts.definitions.agree(name, route.definition)

    async def _redeemed(self, confirm: JsonObject, question: Question) -> bool:
        """Whether the yes holds; False where it is not the chat's to say, which spends nothing. Raises ToolDenied."""
        try:
            await self._parts.confirmations.redeem(confirm, question)
        except Forbidden as error:
            self._refuse(error)
            return False
        return True

    def intend(self, call: LiveCall, name: str) -> None:
        """Ledger and audit, before the effect, of what may be done twice: written soon."""
        self._parts.audit.note("tool.intent", **_intent(call, name))
        self._parts.ledger.started_soon(call.request.key, call.row("started"))
        call.started = True

    async def _intend(self, call: LiveCall, name: str) -> None:
        """The same; waited for unless the person says it may be done twice."""
        if call.idempotent:
            self.intend(call, name)
            return
        await asyncio.gather(
            self._record(_intent(call, name)), self._parts.ledger.started(call.request.key, call.row("started"))
        )
        call.started = True

    async def _record(self, record: JsonObject) -> None:
        try:
            await self._parts.audit.intent("tool.intent", **record)
        except Exception as error:  # whatever keeps the record from being written, the call must not happen
            raise Overloaded("the audit log can't be written, so nothing is done") from error

    async def ask_input(self, call: LiveCall, question: JsonObject) -> JsonObject:
        """An elicitation of the server, carried to the person. Silence cancels it."""
        call.clock.pause()
        try:
            return await self._questions.ask(question, lambda payload: self._asking(call, payload))
        finally:
            call.question = ""
            call.clock.resume()

    def _asking(self, call: LiveCall, payload: JsonObject) -> None:
        call.question = payload["question_id"]
        self._progress(call, payload)


def _route_name(request: Requested) -> str:
    """What its route is found by."""
    return (request.server or "") if request.method == "resources/read" else public_name(request)


def _intent(call: LiveCall, name: str) -> JsonObject:
    """What the audit log is told before the effect."""
    request = call.request
    record: JsonObject = {
        "call_id": request.id, "tool": name, "method": request.method,
        "user": request.actor["user"], "channel": request.actor.get("channel"),
        "arguments_sha256": request.arguments_sha256, "shape": shape(request.params.get("arguments") or {}),
    }  # fmt: skip
    if request.traceparent:
        record["trace_id"] = request.traceparent[3:35]
    return record
