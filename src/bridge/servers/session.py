"""MCP spoken over one link: both eras of the protocol, raw dicts in and out.

Below `owner.py`, above `jsonrpc.py` and a `Link`. The handshake era (up to 2025-11-25) begins with `initialize` and
lets a server ask by itself; the modern one (2026-07-28) carries version and capabilities in each request and asks by
a result that wants input. The session knows nothing of restarts.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from bridge.errors import McpError, OutcomeUnknown, ServerDown, ToolResultInvalid
from bridge.servers import jsonrpc
from bridge.servers.calls import Call, read_progress, unlimited
from bridge.servers.definitions import one_line
from bridge.servers.elicitation import answer_input, ask_somebody
from bridge.servers.handshake import CAPABILITIES, CLIENT, META, METHOD_NOT_FOUND, MODERN_VERSION, agree, listen
from bridge.servers.jsonrpc import Answered, Asked, Invalid, JsonObject, Noise, Notified, Peer, Refused, Reply, Stray
from bridge.servers.link import Incoming, Line, Link, LinkLost, Message, Post, Unanswered, Unreadable
from bridge.servers.results import check_result

_MAX_ROUNDS = 10
_MAX_PAGES = 1000
_MAX_ITEMS = 10_000
_MOST_OWED = 1000
Settle: TypeAlias = Callable[[Reply | Exception], None]
"""Told what came of a request: its answer, or McpError, ToolResultInvalid, LinkLost."""


class Session:
    """One conversation with one server. `changed` is called with `tools`, `resources` or `prompts`."""

    def __init__(self, name: str, changed: Callable[[str], None]) -> None:
        self.name = name
        self.version = ""
        self.info: JsonObject = {}
        self.capabilities: JsonObject = {}
        self.lost = asyncio.Event()
        self.reason = ""
        self._changed = changed
        self._peer = Peer()
        self._link: Link | None = None
        self._open: dict[int, tuple[Settle, Call]] = {}
        self._questions: dict[int | str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = logging.getLogger(f"bridge.server.{name}")
        self._noise = 0

    @property
    def modern(self) -> bool:
        return self.version == MODERN_VERSION

    # ------------------------------------------------------------ beginning and end

    async def start(self, link: Link, wanted: str = "auto") -> None:
        """Agree on a protocol. The caller limits the time. Raises McpError, LinkLost, ToolResultInvalid."""
        self._link = link
        await agree(self, link, wanted)
        if self.modern and any(
            isinstance(part, dict) and part.get("listChanged") for part in self.capabilities.values()
        ):
            self._spawn(listen(self))

    def end(self, reason: str) -> None:
        """The link is gone: whoever waits is told."""
        if self.lost.is_set():
            return
        self.reason = reason
        self.lost.set()
        waiting, self._open = self._open, {}
        for settle, _ in waiting.values():
            settle(LinkLost(reason, sent=True))
        for task in (*self._questions.values(), *self._tasks):
            task.cancel()

    async def close(self) -> None:
        """Wait for what `end` has cancelled."""
        self.end("stopped")
        await asyncio.gather(*self._questions.values(), *self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ asking the server

    async def request(self, method: str, params: JsonObject, call: Call) -> Reply:
        """One request, questions of the server's answered on the way. Within `call.clock`, which the caller holds.

        Raises McpError (the server's own error), ServerDown (never sent), OutcomeUnknown (the server died),
        ToolResultInvalid, ValueError (arguments that aren't JSON).
        """
        try:
            reply = await self.ask(method, params, call)
            for _ in range(_MAX_ROUNDS):
                if not self.modern or reply.value.get("resultType") != "input_required":
                    break
                reply = await self.ask(method, await answer_input(self.name, params, reply.value, call), call)
            else:
                raise ToolResultInvalid("the server keeps asking for input", effect="unknown")
        except LinkLost as lost:
            if lost.sent:
                raise OutcomeUnknown(f"{self.name} died during the call: {lost.reason}", effect="unknown") from None
            raise ServerDown(f"{self.name} is down: {lost.reason}") from None
        check_result(method, reply.value)
        return reply

    async def listing(self, method: str, key: str) -> list[Any]:
        """All pages of a listing; [] where the server doesn't know the method."""
        items: list[Any] = []
        seen: set[str] = set()
        params: JsonObject = {}
        for _ in range(_MAX_PAGES):
            try:
                result = (await self.ask(method, params, unlimited(), listing=True)).value
            except McpError as error:
                if error.code == METHOD_NOT_FOUND:
                    return []
                raise
            page = result.get(key)
            if not isinstance(page, list):
                raise ToolResultInvalid(f"{method}: '{key}' is not a list")
            items += page
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str) or cursor in seen or len(items) >= _MAX_ITEMS:
                break
            seen.add(cursor)
            params = {"cursor": cursor}
        return items[:_MAX_ITEMS]

    async def ask(self, method: str, params: JsonObject, call: Call, *, listing: bool = False) -> Reply:
        """One request and its answer, whatever that is. Raises LinkLost, McpError, ToolResultInvalid."""
        assert self._link is not None
        if self.lost.is_set():
            raise LinkLost(self.reason)  # before `call.sent`: this one was surely not seen
        number = self._peer.mint(listing=listing)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[number] = (partial(_resolve, future), call)
        try:
            message = jsonrpc.request(number, method, self._stamp(number, params, call))
            call.sent = True
            await self._link.send(message)
            return await future
        except asyncio.CancelledError:
            if method != "initialize":  # the one request that must not be cancelled (MCP, lifecycle)
                self._say_cancelled(number)
            raise
        finally:
            self._open.pop(number, None)
            self._peer.forget(number)
            if future.done() and not future.cancelled():
                future.exception()  # the link may die while the request is still being sent

    def quick(self) -> Post | None:
        """How to `post` now; None where a request may have to wait, or its answer to be answered (2026-07-28)."""
        if self._link is None or self.modern or self.lost.is_set():
            return None
        return self._link.quick()

    def post(self, send: Post, method: str, params: JsonObject, call: Call, settle: Settle) -> int:
        """A request without a task: `settle` is called once with what came of it, but after `abandon` of the number.

        `send` is what `quick` gave just now. Raises ValueError (not JSON).
        """
        number = self._peer.mint()
        self._open[number] = (settle, call)
        try:
            send(jsonrpc.request(number, method, self._stamp(number, params, call)))
        except BaseException:  # whatever it was: an answer to what never left is not waited for
            del self._open[number]
            self._peer.forget(number)
            raise
        call.sent = True
        return number

    def abandon(self, number: int) -> None:
        """Nobody wants the answer any more: the server is told, and what it says is dropped."""
        if self._open.pop(number, None) is not None:
            self._peer.forget(number)
            self._say_cancelled(number)

    def _say_cancelled(self, number: int) -> None:
        reason = {"requestId": number, "reason": "no longer wanted"}
        self._spawn(self._tell(jsonrpc.notification("notifications/cancelled", reason)))

    def _stamp(self, number: int, params: JsonObject, call: Call) -> JsonObject:
        meta = params["_meta"] if isinstance(params.get("_meta"), dict) else {}
        if call.on_progress is not None:
            meta = {**meta, "progressToken": number}
        if self.modern:
            meta = {
                **meta, f"{META}protocolVersion": self.version, f"{META}clientInfo": CLIENT,
                f"{META}clientCapabilities": CAPABILITIES,
            }  # fmt: skip
        return {**params, "_meta": meta} if meta else params

    async def _tell(self, message: JsonObject) -> None:
        with suppress(LinkLost, ConnectionError):
            assert self._link is not None
            await self._link.send(message)

    # ------------------------------------------------------------ hearing the server

    def receive(self, incoming: Incoming) -> None:
        """Called by the link for whatever comes."""
        if isinstance(incoming, Line):
            effects: Iterable[jsonrpc.Effect] = self._peer.receive(incoming.data)
        elif isinstance(incoming, Message):
            effects = self._peer.message(incoming.value)
        elif isinstance(incoming, Unanswered):
            if incoming.id in self._open:
                self._settle(incoming.id, LinkLost(incoming.reason, sent=incoming.seen))
            return
        elif isinstance(incoming, Unreadable):
            effects = (Invalid(incoming.id, "the answer is no valid JSON-RPC"),)
        else:
            effects = self._peer.too_long(incoming.start, incoming.end, incoming.size)
        for effect in effects:
            self._apply(effect)

    def _apply(self, effect: jsonrpc.Effect) -> None:
        if type(effect) is Answered:
            self._settle(effect.id, effect.reply)
            return
        match effect:
            case Refused(number, code, message, data):
                self._settle(number, McpError(code, message, data))
            case Invalid(number, reason):
                self._settle(number, ToolResultInvalid(f"{self.name}: {reason}", effect="done"))
            case Notified(method, params):
                self._notified(method, params)
            case Asked(number, method, params):
                self._asked(number, method, params)
            case Stray(number):
                self._log.debug("an answer to %.40r, which nobody waits for", number)
            case Noise(reason):
                self._noise += 1
                if self._noise <= 5 or self._noise % 1000 == 0:
                    self._log.warning("skipped output that is no message (%s), %d so far", reason, self._noise)

    def _settle(self, number: int, outcome: Reply | Exception) -> None:
        found = self._open.pop(number, None)
        if found is not None:
            found[0](outcome)

    def _notified(self, method: str, params: JsonObject) -> None:
        if method == "notifications/progress":
            news = read_progress(params)
            if news is not None and type(news[0]) is int and news[0] in self._open:
                call = self._open[news[0]][1]
                if call.on_progress is not None:
                    try:
                        call.on_progress(news[1])
                    except Exception:  # a listener's mistake must not end the reading of everybody's answers
                        self._log.exception("a listener to progress failed")
        elif method == "notifications/message":
            self._log.info("%s", one_line(str(params.get("data"))[:2000]))
        elif method == "notifications/cancelled":
            number = params.get("requestId")
            if isinstance(number, int | str) and (task := self._questions.get(number)) is not None:
                task.cancel()
        elif method.endswith("/list_changed") and method.startswith("notifications/"):
            self._changed(method.split("/")[1])

    def _asked(self, number: int | str, method: str, params: JsonObject) -> None:
        if len(self._tasks) + len(self._questions) >= _MOST_OWED:
            return  # it asks and asks, and does not read what it is told
        if method == "ping":
            self._spawn(self._tell(jsonrpc.answer(number, {})))
        elif method == "elicitation/create" and number not in self._questions:
            calls = [
                call for _, call in self._open.values()
            ]  # those of now: the answer to one may stand right behind the question
            task = asyncio.get_running_loop().create_task(self._question(number, params, calls))
            self._questions[number] = task
            task.add_done_callback(lambda _: self._questions.pop(number, None))
        elif method == "sampling/createMessage":
            self._spawn(self._tell(jsonrpc.refusal(number, -1, "sampling is not allowed here")))
        else:
            self._spawn(self._tell(jsonrpc.refusal(number, METHOD_NOT_FOUND, f"{method[:100]} is not offered here")))

    async def _question(self, number: int | str, params: JsonObject, calls: list[Call]) -> None:
        await self._tell(jsonrpc.answer(number, await ask_somebody(self.name, params, calls)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _resolve(future: asyncio.Future[Reply], outcome: Reply | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Reply):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
