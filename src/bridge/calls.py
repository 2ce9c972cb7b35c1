"""Calls that came through the tunnel: known or new, allowed or not, run once, answered until acknowledged.

`tunnel.py` hands in what the protocol let pass; policy, confirmations, ledger, audit and the aggregator stand
below. The order for each call: what the ledger knows of its key, the person's policy, the person, intent written,
the server, the answer written, the answer sent. It knows no socket.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from bridge.clock import CallClock
from bridge.confirm import Confirmations, Question
from bridge.definitions import Definitions
from bridge.errors import (
    BadParameters,
    BridgeError,
    CallCancelled,
    Effect,
    IdempotencyConflict,
    McpError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ServerDown,
    TimedOut,
    ToolDenied,
    ToolResultInvalid,
)
from bridge.ledger import Ledger, content_of
from bridge.policy import Verdict, decide, idempotent
from bridge.ports import Audit, Executor, JsonObject, Route
from bridge.protocol.bridge_effects import Requested
from bridge.protocol.canonical import arguments_hash
from bridge.protocol.frames import error_payload
from bridge.protocol.outbox import Answer, Outbox
from bridge.questions import Questions
from bridge.settings import PolicySettings

METHODS = frozenset({"tools/call", "resources/read", "prompts/get"})


class Uplink(Protocol):
    """Where answers and progress go: the live connection, if there is one."""

    def answered(self, call_id: str) -> None: ...

    def progress(self, call_id: str, payload: JsonObject) -> None: ...

    def refuse(self, error: BridgeError) -> None: ...


@dataclass(slots=True)
class _Call:
    request: Requested
    content: str
    clock: CallClock
    ids: list[str]
    started: bool = False
    cancelled: bool = False
    idempotent: bool = False
    task: "asyncio.Task[None] | None" = None
    question: str = ""


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


class Calls:
    """All calls of one bridge. `uplink` is set by the tunnel before anything comes in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.uplink: Uplink | None = None
        self.refused = 0
        self.finished = 0
        self._live: dict[str, _Call] = {}
        self._keys: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions = Questions(lambda: parts.policy().ask_timeout)

    def set_limit(self, max_result_bytes: int) -> None:
        """What the gateway takes at most, in bytes of a response."""
        self._parts.max_result_bytes = max_result_bytes

    @property
    def running(self) -> int:
        return len(self._live)

    def recover(self) -> None:
        """Before the first connection: answers from before a restart, and what the restart interrupted.

        Where the person's policy says idempotent, an interrupted call may simply be sent again; any other ends
        in 2006.
        """
        parts = self._parts
        for key, call_id, answer in parts.ledger.unacknowledged():
            parts.outbox.answers[call_id] = answer
            self._keys[call_id] = key
        for key, call_id, tool in parts.ledger.interrupted():
            method = "tools/call"
            route = parts.executor.route(tool, method)
            if route is not None and idempotent(route.rules, route.own_name):
                continue
            error = OutcomeUnknown("the bridge stopped in the middle of this call", effect="unknown")
            answer = _error_answer(error)
            parts.outbox.answers[call_id] = answer
            self._keys[call_id] = key
            parts.ledger.done_soon(key, answer, "unknown")
        parts.ledger.prune()

    # ------------------------------------------------------------ what the tunnel hands in

    def handle(self, request: Requested) -> None:
        """A signed call, new or sent again."""
        parts = self._parts
        try:
            content = content_of(request.method, request.params, request.server)
        except BadParameters as error:
            self._reject(request.id, error)
            return
        call = self._live.get(request.key)
        if call is not None:
            self._again(call, request, content)
            return
        if parts.ledger.busy(request.key):
            self._own(self._handle_later(request))
            return
        if request.id in parts.outbox.running:
            self._reject(request.id, IdempotencyConflict("this id belongs to another call"))
            return
        route = self._route(request)
        repeatable = route is not None and idempotent(route.rules, route.own_name)
        finding = parts.ledger.look(request.key, content, idempotent=repeatable, attempt=request.attempt)
        match finding.meaning:
            case "conflict":
                self._reject(request.id, IdempotencyConflict())
            case "unknown":
                self._reject(request.id, OutcomeUnknown("this call was begun before a restart", effect="unknown"))
            case "gone":
                self._reject(request.id, OutcomeUnknown("done, but the answer is not kept any more", effect="done"))
            case "answer" if finding.answer is not None:
                self._keys[request.id] = request.key
                self._deliver(request.id, _for_id(finding.answer, request.id))
            case _:
                self._begin(request, content, route, repeatable)

    def cancel(self, call_id: str, reason: str) -> None:
        """Always answered: by `ERROR` 1009, unless the response was first."""
        for call in self._live.values():
            if call_id in call.ids:
                call.cancelled = True
                if call.task is not None:
                    call.task.cancel()
                return
        if call_id not in self._parts.outbox.answers:
            self._reject(call_id, CallCancelled("nothing runs under this id"))

    async def _handle_later(self, request: Requested) -> None:
        """The same key ended a moment ago: let the ledger catch up first."""
        with contextlib.suppress(Overloaded):
            await self._parts.ledger.settle()
        self.handle(request)

    def acknowledged(self, call_id: str) -> None:
        """The gateway has the answer to this call."""
        key = self._keys.pop(call_id, None)
        if key is not None:
            self._parts.ledger.acknowledged(key)

    def revoke_grants(self, grants: list[JsonObject]) -> None:
        """The user took back what was allowed: `[{"user", "tool"?, "session_key"?}]`."""
        for grant in grants:
            user, tool, session = grant.get("user"), grant.get("tool"), grant.get("session_key")
            if isinstance(user, str):
                self._parts.confirmations.revoke(
                    user, tool if isinstance(tool, str) else None, session if isinstance(session, str) else None
                )

    def announce_questions(self) -> None:
        """On a new connection: calls that wait for a person say so again."""
        for call in self._live.values():
            self._repeat_question(call)

    async def close(self) -> None:
        """End what runs; what had begun ends in 2006 after the next start."""
        self._parts.confirmations.closing = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, at most `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    # ------------------------------------------------------------ one call

    def _begin(self, request: Requested, content: str, route: Route | None, repeatable: bool) -> None:
        call = _Call(request, content, CallClock(request.remaining), [request.id], idempotent=repeatable)
        self._live[request.key] = call
        self._parts.outbox.running[request.id] = None
        self._keys[request.id] = request.key
        call.task = self._own(self._run(call, route))

    def _own(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _again(self, call: _Call, request: Requested, content: str) -> None:
        """The same key while it runs: attach, and take a person's answer out of it."""
        if content != call.content:
            self._reject(request.id, IdempotencyConflict(), keep=request.id not in call.ids)
            return
        if request.id not in call.ids:
            call.ids.append(request.id)
            self._keys[request.id] = request.key
            self._parts.outbox.running[request.id] = None
        call.clock.reset(request.remaining)
        try:
            if request.confirm is not None and not call.started:
                self._parts.confirmations.answer(request.confirm, call.ids[0], content)
                return
            if request.answer is not None and self._questions.answer(request.answer):
                return
        except BridgeError as error:
            self._uplink_refuse(error)
            if isinstance(error, ToolDenied):
                call.cancelled = True
                self._finish(call, _error_answer(error), "none")
                if call.task is not None:
                    call.task.cancel()
            return
        self._repeat_question(call)

    def _repeat_question(self, call: _Call) -> None:
        payload = self._parts.confirmations.repeat(call.ids[0]) or self._questions.repeat(call.question)
        if payload is not None:
            for call_id in call.ids:
                self._tell(call_id, payload)

    async def _run(self, call: _Call, route: Route | None) -> None:
        effect: Effect = "none"
        try:
            async with asyncio.timeout(None) as timeout:
                if call.request.remaining <= 0:
                    raise TimedOut("the deadline had passed before it came")
                call.clock.bind(timeout)
                answer = await self._answer(call, route)
            effect = "done"
        except TimeoutError:
            effect = "unknown" if call.started else "none"
            answer = _error_answer(TimedOut(effect=effect))
        except asyncio.CancelledError:
            if not call.cancelled:
                self._live.pop(call.request.key, None)
                raise
            effect = "unknown" if call.started else "none"
            answer = _error_answer(CallCancelled(effect=effect))
        except BridgeError as error:
            effect = error.effect
            answer = _error_answer(error)
        except Exception as error:  # whatever the executor did, the call must be answered and the bridge go on
            effect = "unknown" if call.started else "none"
            answer = _error_answer(ServerDown(f"the call failed: {type(error).__name__}", effect=effect))
        if call.request.key in self._live:
            await self._keep(call, answer, effect)
            self._finish(call, answer, effect)

    async def _keep(self, call: _Call, answer: Answer, effect: Effect) -> None:
        """Into the ledger, before it leaves."""
        with contextlib.suppress(Overloaded):  # the disk refuses: the person still gets the answer
            await self._parts.ledger.done(call.request.key, answer, effect, wait=not call.idempotent and call.started)

    def _finish(self, call: _Call, answer: Answer, effect: Effect) -> None:
        if self._live.pop(call.request.key, None) is None:
            return
        self.finished += 1
        self.refused += answer.kind == "ERROR"
        self._parts.audit.note("tool.outcome", call_id=call.request.id, kind=answer.kind, effect=effect)
        for call_id in call.ids:
            self._parts.outbox.running.pop(call_id, None)
            self._deliver(call_id, _for_id(answer, call_id))

    async def _answer(self, call: _Call, route: Route | None) -> Answer:
        request = call.request
        if request.method not in METHODS:
            raise ToolDenied("this bridge has no such operation")
        if route is None:
            raise ToolDenied("no such server here") if request.server else NotFound("no such tool here")
        name = _public_name(request)
        await self._permit(call, route, name)
        params = _params(request)
        await self._intend(call, name)
        while True:
            try:
                result = await self._parts.executor.request(
                    request.server if request.method == "resources/read" and request.server else name,
                    request.method, params, call.clock.remaining(),
                    lambda payload: self._progress(call, payload),
                    lambda question: self._ask_input(call, question),
                )  # fmt: skip
            except McpError as error:
                body = {"code": error.code, "message": error.message, "data": error.data}
                return self._response(request.id, "error", {k: v for k, v in body.items() if v is not None})
            except OutcomeUnknown as error:
                if call.idempotent and call.clock.remaining() > 0:
                    await asyncio.sleep(0.05)
                    continue
                raise OutcomeUnknown("the MCP server stopped in the middle of this call", effect="unknown") from error
            return self._response(request.id, "result", result)

    def _response(self, call_id: str, member: str, value: JsonObject) -> Answer:
        try:
            body = orjson.dumps(value)
        except (orjson.JSONEncodeError, RecursionError) as error:
            raise ToolResultInvalid("the result is no plain JSON", effect="done") from error
        if len(body) > self._parts.max_result_bytes:
            raise ToolResultInvalid("the result is too large", effect="done")
        return Answer("MCP_RESPONSE", b'%s"%s":%s}' % (_head(call_id), member.encode(), body))

    async def _permit(self, call: _Call, route: Route, name: str) -> None:
        """Return where the call may run. Raises ToolDenied."""
        parts, request = self._parts, call.request
        arguments = request.params.get("arguments") or {}
        verdict = decide(route.rules, parts.policy().default, name, route.own_name, arguments)
        changed = bool(route.definition) and parts.definitions.changed(name, route.definition)
        if verdict.policy == "allow" and changed:
            parts.audit.note("tool.changed", tool=name, definition=route.definition)
            verdict = Verdict("ask", "the tool is not what it was when it was allowed")
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
        if request.confirm is not None:
            await parts.confirmations.redeem(request.confirm, question)
        else:
            parts.ledger.received(request.key, request.id, call.content, name)
            call.clock.pause()
            try:
                await parts.confirmations.ask(question, lambda payload: self._progress(call, payload))
            finally:
                call.clock.resume()
        if route.definition:
            parts.definitions.agree(name, route.definition)

    async def _intend(self, call: _Call, name: str) -> None:
        """Ledger and audit, before the effect; waited for unless the person says it may be done twice."""
        parts, request = self._parts, call.request
        arguments = request.params.get("arguments") or {}
        record: JsonObject = {
            "call_id": request.id, "tool": name, "method": request.method,
            "user": request.actor["user"], "channel": request.actor.get("channel"),
            "arguments_sha256": arguments_hash(arguments), "shape": shape(arguments),
        }  # fmt: skip
        if request.traceparent:
            record["trace_id"] = request.traceparent[3:35]
        if call.idempotent:
            parts.audit.note("tool.intent", **record)
            await parts.ledger.started(request.key, request.id, call.content, name, synced=False)
        else:
            try:
                await parts.audit.intent("tool.intent", **record)
            except Exception as error:  # whatever keeps the record from being written, the call must not happen
                raise Overloaded("the audit log can't be written, so nothing is done") from error
            await parts.ledger.started(request.key, request.id, call.content, name, synced=True)
        call.started = True

    async def _ask_input(self, call: _Call, question: JsonObject) -> JsonObject:
        """An elicitation of the server, carried to the person. Silence cancels it."""
        call.clock.pause()
        try:
            return await self._questions.ask(question, lambda payload: self._asking(call, payload))
        finally:
            call.question = ""
            call.clock.resume()

    def _asking(self, call: _Call, payload: JsonObject) -> None:
        call.question = payload["question_id"]
        self._progress(call, payload)

    def _progress(self, call: _Call, payload: JsonObject) -> None:
        for call_id in call.ids:
            self._tell(call_id, payload)

    # ------------------------------------------------------------ ways out

    def _route(self, request: Requested) -> Route | None:
        name = request.server if request.method == "resources/read" else _public_name(request)
        if not name or request.method not in METHODS:
            return None
        return self._parts.executor.route(name, request.method)

    def _reject(self, call_id: str, error: BridgeError, *, keep: bool = True) -> None:
        """End a call that never ran here; without `keep` only the frame is refused."""
        if keep and call_id not in self._parts.outbox.running:
            self._deliver(call_id, _error_answer(error))
        else:
            self._uplink_refuse(error)

    def _deliver(self, call_id: str, answer: Answer) -> None:
        self._parts.outbox.answers[call_id] = answer
        if self.uplink is not None:
            self.uplink.answered(call_id)

    def _tell(self, call_id: str, payload: JsonObject) -> None:
        if self.uplink is not None:
            self.uplink.progress(call_id, payload)

    def _uplink_refuse(self, error: BridgeError) -> None:
        if self.uplink is not None:
            self.uplink.refuse(error)


def shape(value: object, depth: int = 0) -> object:
    """What the audit log may know of arguments: names and kinds, no contents."""
    if isinstance(value, dict) and depth < 4:
        return {str(key)[:64]: shape(item, depth + 1) for key, item in list(value.items())[:32]}
    if isinstance(value, list):
        return f"list({len(value)})"
    if isinstance(value, str):
        return f"text({len(value)})"
    return type(value).__name__


def _public_name(request: Requested) -> str:
    name = request.params.get("name", request.params.get("uri"))
    return name if isinstance(name, str) else ""


def _params(request: Requested) -> JsonObject:
    """What goes to the server: nothing that it was not meant to see."""
    kept = ("uri",) if request.method == "resources/read" else ("name", "arguments")
    return {name: request.params[name] for name in kept if name in request.params}


def _head(call_id: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,' % orjson.dumps(call_id)


def _for_id(answer: Answer, call_id: str) -> Answer:
    """The same answer to a request with another id."""
    if answer.kind == "ERROR" or answer.payload.startswith(_head(call_id)):
        return answer
    # The head is our own writing: the id's JSON text ends at the first `,"result":` or `,"error":`.
    for member in (b',"result":', b',"error":'):
        at = answer.payload.find(member, 0, 1024)
        if at > 0:
            return Answer(answer.kind, _head(call_id) + answer.payload[at + 1 :])
    return answer


def _error_answer(error: BridgeError) -> Answer:
    payload = error_payload(
        error.code, error.message, scope="call", retryable=error.retryable, effect=error.effect,
        retry_after_ms=error.retry_after_ms,
    )  # fmt: skip
    return Answer("ERROR", orjson.dumps(payload))
