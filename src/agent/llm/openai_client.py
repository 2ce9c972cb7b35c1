"""One model at one OpenAI-compatible address: asks, streams, and gives up in time.

Above it `fallback.py`, which retries and chooses among several; below it `openai_sdk.py` (the `openai` package)
and `stream.py` (the bytes). One call here is one HTTP request: nothing is repeated.
"""

import asyncio
import importlib
import json
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from agent.llm.deadlines import Deadlines
from agent.llm.failures import failure, kind_of_status
from agent.llm.presentable import presentable
from agent.llm.prices import Price, price_of, usage_of
from agent.llm.stream import ReplyStream
from agent.llm.stream_limits import StreamBroken
from agent.ports.models import ModelReply, ModelRequest
from agent.settings import ModelSettings
from bus.events import JsonObject, Usage

if TYPE_CHECKING:
    from agent.llm.openai_sdk import Endpoint

REUSE_SECONDS = 0.02
"""How long the end of the body may take after the end of the answer, for the connection to be used again."""


async def load_sdk() -> ModuleType:
    """Import the `openai` package beside the loop, not in it."""
    return await asyncio.to_thread(importlib.import_module, "agent.llm.openai_sdk")


class OpenAIModel:
    """An entry of `models`. Implements `LanguageModel`."""

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self._price: Price | None = price_of(settings)
        self._endpoint: Endpoint | None = None
        self._sdk: Any = None
        self._official = (urlsplit(settings.base_url).hostname or "").endswith("api.openai.com")
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""

    async def warm(self) -> None:
        """Import what the first request needs. Call it when the port is open."""
        await self._ready()

    async def _ready(self) -> "Endpoint":
        if self._endpoint is None:
            self._sdk = await load_sdk()
            opened = await self._sdk.Endpoint.open(self.settings.base_url, self._key or None)
            if self._endpoint is None:
                self._endpoint = opened
            else:  # another round came first
                await opened.close()
        return self._endpoint

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        """One request. Raises ModelFailed, whose `partial` is what was given to `on_delta`."""
        settings = self.settings
        if self._official and not self._key:
            raise failure("missing_key", settings.name, request.language)
        if not (self._key.isascii() and self._key.isprintable()):
            raise failure("auth", settings.name, request.language)  # no header can hold it
        endpoint = await self._ready()
        stream = ReplyStream(on_delta)
        try:
            return await self._answer(endpoint, request, stream)
        except BaseException:  # stopped, too: what a model has begun is paid for
            if stream.events:
                request.lost(settings.name, self._usage(request, stream))
            raise

    async def _answer(self, endpoint: "Endpoint", request: ModelRequest, stream: ReplyStream) -> ModelReply:
        settings = self.settings
        try:
            await self._converse(endpoint, encode(self._body(request)), stream)
            return self._reply(request, stream)
        except StreamBroken as broken:
            raise self._broken(broken, stream, request.language) from None
        except self._sdk.Refused as refused:
            kind = kind_of_status(refused.status, refused.code, refused.message)
            if kind == "auth" and not self._key:
                kind = "missing_key"
            after = None if refused.retry_after is None else int(refused.retry_after * 1000)
            raise failure(
                kind,
                settings.name,
                request.language,
                status=refused.status,
                detail=refused.message,
                retry_after_ms=after,
            ) from None
        except self._sdk.NotReached:
            raise failure("connection", settings.name, request.language) from None
        except (aiohttp.ClientError, OSError) as error:
            error.__traceback__ = None  # the connection keeps its error, and with this the stream
            if stream.ended:
                return self._reply(request, stream)
            kind = "truncated" if stream.events else "connection"
            raise failure(kind, settings.name, request.language, partial=stream.text) from None
        except _GivenUp as given_up:
            raise failure(given_up.kind, settings.name, request.language, partial=stream.text) from None

    async def _converse(self, endpoint: "Endpoint", body: bytes, stream: ReplyStream) -> None:
        """Send and read until the answer is whole. The connection is closed at once where it is not."""
        loop = asyncio.get_running_loop()
        settings = self.settings
        deadlines = Deadlines(
            settings.first_token_seconds, settings.stall_seconds, settings.total_seconds, started=loop.time()
        )
        watch = _Watch(loop, deadlines, stream)
        response = None
        try:
            async with asyncio.timeout(None) as limit:
                watch.start(limit)
                response = await endpoint.post(body)
                content = response.content
                while data := await content.readany():
                    silent = not stream.begun
                    stream.feed(data)
                    if stream.ended:
                        if silent and stream.begun:
                            await _let_it_leave()
                        if stream.done:
                            break
                        watch.settle()
        except TimeoutError:
            if watch.verdict == "ended":
                return
            if not watch.verdict:
                raise
            raise _GivenUp(watch.verdict) from None
        finally:
            watch.stop()
            if response is not None:
                await self._leave(response, stream.done and stream.ended)

    async def _leave(self, response: aiohttp.ClientResponse, whole: bool) -> None:
        try:
            if whole and not response.content.at_eof():
                async with asyncio.timeout(REUSE_SECONDS):
                    await response.content.readany()
        except (TimeoutError, aiohttp.ClientError):
            pass
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    # ------------------------------------------------------------ forms

    def _body(self, request: ModelRequest) -> JsonObject:
        settings = self.settings
        body: JsonObject = {"model": settings.model, "messages": presentable(request.messages), "stream": True,
                            "stream_options": {"include_usage": True}}  # fmt: skip
        if request.tools and settings.tools:
            body["tools"] = request.tools
        body.update(request.parameters)
        if not body.get("tools"):
            body.pop("tool_choice", None)
            body.pop("parallel_tool_calls", None)
        most = body.pop("max_completion_tokens", None) or body.pop("max_tokens", None)
        body.pop("max_tokens", None)
        if settings.max_output_tokens:
            most = min(most, settings.max_output_tokens) if isinstance(most, int) else settings.max_output_tokens
        if most:  # OpenAI's newer models refuse the old name, other servers the new one
            body["max_completion_tokens" if self._official else "max_tokens"] = most
        return body

    def _reply(self, request: ModelRequest, stream: ReplyStream) -> ModelReply:
        whole = stream.finish()
        return ModelReply(
            text=whole.text, finish_reason=whole.finish_reason, calls=whole.calls, usage=self._usage(request, stream),
            model=self.settings.name,
        )  # fmt: skip

    def _usage(self, request: ModelRequest, stream: ReplyStream) -> Usage:
        return usage_of(stream.usage, request.messages, stream.written, self._price, request.tools)

    def estimate(self, name: str, messages: Sequence[JsonObject]) -> Usage:
        """What a request uses before its first word."""
        return usage_of({}, messages, "", self._price)

    def _broken(self, broken: StreamBroken, stream: ReplyStream, language: str) -> Exception:
        kind = broken.kind
        if kind == "error":
            kind = kind_of_status(int(broken.status) if broken.status.isdigit() else 500, broken.status, broken.detail)
        return failure(kind, self.settings.name, language, detail=broken.detail, partial=stream.text)

    def describe(self) -> Sequence[JsonObject]:
        """This entry, without its key."""
        settings = self.settings
        return [{"name": settings.name, "model": settings.model, "tier": settings.tier, "vision": settings.vision,
                 "tools": settings.tools, "context_tokens": settings.context_tokens}]  # fmt: skip

    async def close(self) -> None:
        """End its connections."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.close()


def encode(body: JsonObject) -> bytes:
    """JSON; half surrogate pairs, which no JSON text may hold, become question marks."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


async def _let_it_leave() -> None:
    """A short answer came whole: what it says is sent before its end is worked off.

    From the disk's word that the question is kept to the socket are three steps of the event loop.
    """
    for _ in range(3):
        await asyncio.sleep(0)


class _GivenUp(Exception):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Watch:
    """One timer that looks at the deadlines now and then, and ends the reading when one has passed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, stream: ReplyStream) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._stream = stream
        self._limit: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settling = False
        self.verdict = ""

    def start(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        found = self._deadlines.check(now, self._stream.events, self._stream.ended)
        if isinstance(found, str):
            self.verdict = found
            if self._limit is not None:
                self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_at(found, self._look)

    def settle(self) -> None:
        """The reason for the end is known: look at once, since the next look may be far away."""
        if not self._settling:
            self._settling = True
            self.stop()
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
