"""Figures for Prometheus: counted from bus events, and gauges that are asked when they are read.

Nothing here is on the way of a delta: deltas are counted by their numbers when the turn
ends. No label names a user or a session; the children of labelled metrics are looked up
once and kept. `gateway/app.py` attaches `observe` to the bus and offers the gauges.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector
from prometheus_client import ProcessCollector as Process
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from bus.events import ChatDelta, ChatDone, ChatError, ChatMessage, ChatStarted, Event, ToolFinished
from bus.keys import SessionKey
from gateway.observability.figures import Figure

Source = Callable[[], Iterable[Figure]]
_TURN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOOL_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120)
MAX_OPEN = 10_000
"""Turns whose start is remembered; beyond, durations are not measured."""


class _Asked(Collector):
    """Figures that are read at the moment of asking."""

    def __init__(self) -> None:
        self.sources: list[Source] = []

    def collect(self) -> Iterator[Metric]:
        for source in self.sources:
            for figure in source():
                yield _family(figure)


def _family(figure: Figure) -> Metric:
    labels = [figure.label] if figure.label else []
    kind = CounterMetricFamily if figure.total else GaugeMetricFamily
    family = kind("gateway_" + figure.name, figure.text, labels=labels)
    values = figure.value.items() if isinstance(figure.value, Mapping) else [(None, figure.value)]
    for name, value in values:
        family.add_metric([] if name is None else [str(name)], value)
    return family


@dataclass(slots=True)
class _Turn:
    """A turn that runs. `others` are the numbers since its start that none of its deltas took."""

    since: float
    seq: int
    others: int = 0


class Metrics:
    """The gateway's registry. `now` gives seconds that never go back."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, *, version: str = "", now: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._now = now
        Process(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        registry = self.registry
        self._messages = Counter("gateway_messages", "Messages accepted.", ["channel"], registry=registry)
        self._turns = Counter("gateway_turns", "Turns ended.", ["outcome"], registry=registry)
        self._deltas = Counter("gateway_deltas", "Pieces of answers, counted when the turn ends.", registry=registry)
        self._errors = Counter("gateway_turn_errors", "Turns ended in an error.", ["code"], registry=registry)
        self._tools = Counter("gateway_tool_calls", "Tool calls ended.", ["outcome"], registry=registry)
        self._tokens = Counter("gateway_tokens", "Tokens of the model.", ["kind"], registry=registry)
        self._cost = Counter(
            "gateway_cost_dollars", "Money the model cost, where the price is known.", registry=registry
        )
        self._seconds = Histogram(
            "gateway_turn_seconds", "From the start of a turn to its end.", buckets=_TURN_BUCKETS, registry=registry
        )
        self._tool_seconds = Histogram(
            "gateway_tool_seconds", "How long tool calls take.", buckets=_TOOL_BUCKETS, registry=registry
        )
        info = Gauge("gateway_info", "The version, as a label.", ["version"], registry=registry)
        info.labels(version).set(1)
        self._asked = _Asked()
        registry.register(self._asked)
        self._children: dict[tuple[int, str], Counter] = {}
        self._open: dict[SessionKey, dict[str, _Turn]] = {}
        """By session and message: a command is answered while a turn runs."""

    def offer(self, source: Source) -> None:
        """Show the figures of `source()`, which is called whenever somebody reads."""
        self._asked.sources.append(source)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def observe(self, event: Event) -> None:
        """Count one event of the bus. Never waits, never raises; a delta costs one comparison."""
        if type(event) is ChatDelta:
            return
        self._numbered(getattr(event, "session", None), getattr(event, "seq", None))
        if isinstance(event, ChatStarted):
            if len(self._open) < MAX_OPEN or event.session in self._open:
                turns = self._open.setdefault(event.session, {})
                turns[event.message_id] = _Turn(self._now(), event.seq)
        elif isinstance(event, ChatMessage):
            self._count(self._messages, event.channel)
        elif isinstance(event, ChatDone | ChatError):
            self._ended(event)
        elif isinstance(event, ToolFinished):
            self._count(self._tools, "error" if event.is_error else "ok")
            self._tool_seconds.observe(event.duration_ms / 1000)

    def _numbered(self, session: SessionKey | None, seq: int | None, numbers: int = 1) -> None:
        """So many numbers of the session are no deltas of the turns that are open there."""
        if session is not None and seq is not None:
            for turn in self._open.get(session, {}).values():
                turn.others += numbers

    def _ended(self, event: ChatDone | ChatError) -> None:
        turns = self._open.get(event.session, {})
        turn = turns.pop(event.message_id, None)
        if turn is not None:
            deltas = max(0, event.seq - turn.seq - turn.others)
            self._seconds.observe(max(0.0, self._now() - turn.since))
            self._deltas.inc(deltas)
            self._numbered(event.session, event.seq, deltas)
        if not turns:
            self._open.pop(event.session, None)
        if isinstance(event, ChatError):
            self._count(self._turns, "error")
            self._count(self._errors, str(event.code))
        else:
            self._count(self._turns, event.finish_reason)
        if event.usage is None:
            return
        for kind in ("prompt", "completion", "cached"):
            amount = getattr(event.usage, f"{kind}_tokens")
            if amount:
                self._child(self._tokens, kind).inc(amount)
        if event.usage.cost:
            self._cost.inc(event.usage.cost)

    def _count(self, counter: Counter, label: str) -> None:
        self._child(counter, label).inc()

    def _child(self, counter: Counter, label: str) -> Counter:
        key = (id(counter), label)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(label)
        return child
