"""OpenTelemetry, where the configuration names an endpoint: spans go out over OTLP/HTTP.

The SDK (extra `otel`) is imported only then. The rest of the program calls
`bus.tracing`; this module alone knows OpenTelemetry.
"""

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bus import tracing
from bus.context import current_trace_id


class TracingUnavailable(Exception):
    """Tracing is configured, and the extra `otel` is not installed."""


class _Span:
    """An OpenTelemetry span behind the little that the program needs."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, name: str, value: object) -> None:
        if value not in (None, ""):
            self._span.set_attribute(name, value)


class Tracing:
    """Sends spans to `endpoint` while it is open. Raises TracingUnavailable."""

    def __init__(self, endpoint: str, service: str = "busgate") -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingUnavailable("tracing needs the extra: pip install 'busgate[otel]'") from error
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("busgate")

    def __enter__(self) -> "Tracing":
        tracing.install(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        tracing.install(None)
        self._provider.shutdown()

    def _open(self, name: str, attributes: dict[str, object]) -> AbstractContextManager[_Span]:
        return self._span(name, attributes)

    @contextmanager
    def _span(self, name: str, attributes: dict[str, object]) -> Iterator[_Span]:
        from opentelemetry import trace

        parent = None
        around = trace.get_current_span().get_span_context()
        if not around.is_valid or around.trace_id != int(current_trace_id(), 16):
            # The first span of a message: it joins the trace that the message came with. A span of another message
            # may be around, where that one's task began this one's.
            root = trace.SpanContext(
                trace_id=int(current_trace_id(), 16), span_id=secrets.randbits(64) or 1, is_remote=True,
                trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
            )  # fmt: skip
            parent = trace.set_span_in_context(trace.NonRecordingSpan(root))
        # its stub wants no None
        with self._tracer.start_as_current_span(name, context=parent, attributes=attributes) as span:  # type: ignore[arg-type]
            before = tracing.span_id.set(f"{span.get_span_context().span_id:016x}")
            try:
                yield _Span(span)
            finally:
                tracing.span_id.reset(before)
