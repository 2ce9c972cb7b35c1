"""Several models as one: the cheapest that can do it, the next one where it fails, a fair share for each person.

Above it the supervisor and its modes, which see a `LanguageModel`; below it a client for each entry of `models`.
Nothing is repeated once a word has been streamed: what was said stays said, and the failure is told with it.
"""

import asyncio
import importlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from agent.llm.breaker import Breaker
from agent.llm.candidates import Known, order
from agent.llm.failures import KINDS, UNUSABLE, failure
from agent.llm.fair import FairShare
from agent.llm.openai_client import OpenAIModel
from agent.llm.prices import usage_of
from agent.ports.models import LanguageModel, ModelFailed, ModelReply, ModelRequest
from agent.settings import ModelSettings
from bus.context import timestamp
from bus.events import JsonObject, Usage

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""The longest wait for a second try; a model that asks for more is not asked again."""
RETRY_SECONDS = 0.25
MAX_REST_SECONDS = 300.0
_NOT_ITS_FAULT = frozenset({"context_length", "content_filter", "request", "rate_limit", "incapable"})


class _Entry:
    """A model under one of its keys, and what is known of it."""

    def __init__(self, settings: ModelSettings, key: int) -> None:
        self.settings = settings
        self.key = key
        self.client = OpenAIModel(settings)
        self.share = FairShare(settings.max_concurrent)
        self.breaker = Breaker(settings.name)
        self.rests_until = 0.0  # monotonic: the model told us when to come again
        self.rounds = 0
        self.failures: Counter[str] = Counter()
        self.last_failure = ""

    @property
    def resting(self) -> bool:
        return self.breaker.open or time.monotonic() < self.rests_until

    async def ask(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        async with self.share.slot(request.user):
            self.rounds += 1
            try:
                reply = await self.client.stream(request, on_delta)
            except ModelFailed as failed:
                failed.__context__ = None  # it holds all that was read; the message says what it was
                await self._note(failed)
                raise
        self.breaker.succeeded()
        return reply

    async def _note(self, failed: ModelFailed) -> None:
        self.failures[failed.kind] += 1
        self.last_failure = f"{failed.kind} {timestamp()}"
        if failed.kind == "rate_limit" and failed.retry_after_ms:
            self.rests_until = time.monotonic() + min(failed.retry_after_ms / 1000, MAX_REST_SECONDS)
        if failed.kind not in _NOT_ITS_FAULT:
            await self.breaker.failed(failed)

    def describe(self) -> JsonObject:
        settings = self.settings
        state = "open" if self.breaker.open else "resting" if self.resting else "ready"
        return {
            "name": settings.name, "model": settings.model, "tier": settings.tier, "vision": settings.vision,
            "tools": settings.tools, "key": self.key,
            "state": state, "running": self.share.running, "waiting": self.share.waiting,
            "rounds": self.rounds, "failures": dict(self.failures), "last_failure": self.last_failure,
        }  # fmt: skip


class ModelPool:
    """Implements `LanguageModel` over the entries of `models`; without any, `demo` answers."""

    def __init__(self, entries: Sequence[ModelSettings], demo: LanguageModel) -> None:
        self._entries = [_Entry(each, key) for settings in entries for key, each in enumerate(_keys(settings), 1)]
        self._demo = demo
        self.retries = 0
        self.failovers = 0

    async def warm(self) -> None:
        """Import what the first request needs. Call it when the port is open; without models there is nothing."""
        for entry in self._entries:
            try:
                await entry.client.warm()
            except Exception:  # nobody has asked yet: the first who does is told what is wrong, and the house stands
                log.exception("the model %s cannot be made ready", entry.settings.name)

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        """Ask one model after another until one answers. Raises ModelFailed, in `request.language`."""
        if not self._entries:
            return await self._demo.stream(request, on_delta)
        places = order([Known(entry.settings, entry.resting) for entry in self._entries], request)
        if not places:
            needs = ", ".join(sorted(request.needs))
            raise failure("incapable", "", request.language, detail=needs)
        failures: list[tuple[_Entry, ModelFailed]] = []
        try:
            for place in places:
                entry = self._entries[place]
                if _is_hopeless(entry, failures):
                    continue
                self.failovers += bool(failures)
                try:
                    return await entry.ask(request, on_delta)
                except ModelFailed as failed:
                    failures.append((entry, failed))
                    if failed.partial or not KINDS[failed.kind].elsewhere:
                        raise
            return await self._once_more(request, on_delta, failures)
        finally:
            _let_go(failures)

    async def _once_more(
        self, request: ModelRequest, on_delta: Callable[[str], None], failures: list[tuple[_Entry, ModelFailed]]
    ) -> ModelReply:
        """Nobody answered, nothing was streamed: the one that may soonest do better gets a second chance."""
        chances = [(_wait(failed), number) for number, (_, failed) in enumerate(failures) if KINDS[failed.kind].again]
        wait, number = min(chances, default=(PATIENCE_SECONDS + 1, 0))
        if wait > PATIENCE_SECONDS:
            raise _summed_up(failures)
        self.retries += 1
        entry, first = failures[number]
        retrying = await asyncio.to_thread(_retrying)  # needed by failures alone
        try:
            # What was tried above counts as the first attempt; the pause is what the model asked for.
            async for attempt in retrying.retry_context(
                on=lambda error: wait if error is first else False, attempts=2, timeout=None
            ):
                with attempt:
                    if attempt.num == 1:
                        raise first
                    return await entry.ask(request, on_delta)
        except ModelFailed as failed:
            failed.__traceback__ = None  # `retrying` keeps both
            if failed.partial:
                raise _anew(failed) from None
            failures[number] = (entry, failed)
        finally:
            first.__traceback__ = None
        raise _summed_up(failures) from None

    def describe(self) -> Sequence[JsonObject]:
        """Each entry with its state (`ready`, `resting`, `open`) and its counts."""
        return [entry.describe() for entry in self._entries] or self._demo.describe()

    def estimate(self, name: str, messages: Sequence[JsonObject]) -> Usage:
        """What a request to the entry `name` uses before its first word; unpriced where there is none any more."""
        entry = next((entry for entry in self._entries if entry.settings.name == name), None)
        if entry is not None:
            return entry.client.estimate(name, messages)
        return Usage() if not self._entries else usage_of({}, messages, "", None)

    async def close(self) -> None:
        """End all connections."""
        for entry in self._entries:
            await entry.client.close()
        await self._demo.close()


def _retrying() -> Any:
    """`stamina`, which tells of a retry by our logging, and not on standard output where structlog happens to be."""
    stamina = importlib.import_module("stamina")
    stamina.instrumentation.set_on_retry_hooks((stamina.instrumentation.LoggingOnRetryHook,))
    return stamina


def _keys(settings: ModelSettings) -> list[ModelSettings]:
    """The entry once for each of its keys; once without where it has none."""
    keys = [key for key in (settings.api_key, *settings.api_keys) if key is not None and key.get_secret_value().strip()]
    return [settings.model_copy(update={"api_key": key, "api_keys": ()}) for key in keys] or [settings]


def _is_hopeless(entry: _Entry, failures: Sequence[tuple[_Entry, ModelFailed]]) -> bool:
    """Whether another model has already shown that this one can't: the prompt is too long for a larger context."""
    return any(
        failed.kind == "context_length" and entry.settings.context_tokens <= other.settings.context_tokens
        for other, failed in failures
    )


def _anew(failed: ModelFailed) -> ModelFailed:
    """The same failure, without its way here."""
    return ModelFailed(
        failed.code, failed.message, partial=failed.partial, retryable=failed.retryable,
        retry_after_ms=failed.retry_after_ms, kind=failed.kind,
    )  # fmt: skip


def _let_go(failures: list[tuple[_Entry, ModelFailed]]) -> None:
    """Part failures from the frames they came through.

    Each would keep those, and they it, with all that a model sent, up to megabytes, until the collector comes by;
    and that is rare in a process whose objects live long.
    """
    for _, failed in failures:
        failed.__traceback__ = None
    failures.clear()


def _wait(failed: ModelFailed) -> float:
    """Seconds before a second try: what the model asked for, else a moment."""
    return RETRY_SECONDS if failed.retry_after_ms is None else failed.retry_after_ms / 1000


def _summed_up(failures: Sequence[tuple[_Entry, ModelFailed]]) -> ModelFailed:
    """One failure for all: the first model's, followed by the words on the others."""
    first = failures[0][1]
    if len(failures) == 1:
        return _anew(first)
    told = [failed for _, failed in failures if failed.kind in UNUSABLE or failed is first][:4]
    waits = [failed.retry_after_ms for _, failed in failures if failed.retry_after_ms is not None]
    return ModelFailed(
        first.code, "\n".join(dict.fromkeys(failed.message for failed in told)), kind=first.kind,
        retryable=any(failed.retryable for _, failed in failures), retry_after_ms=min(waits, default=None),
    )  # fmt: skip
