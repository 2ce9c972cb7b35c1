"""Spans of a message share its trace, and go out over OTLP."""

import asyncio

from bus import context, tracing
from gateway.observability.tracing import Tracing
from tests.fakes.collector import collector, spans_of


async def test_off_it_costs_nothing_and_says_nothing() -> None:
    with tracing.span(tracing.MODEL, "gpt") as span:
        span.set("gen_ai.usage.input_tokens", 3)
    assert tracing.traceparent().startswith(f"00-{context.current_trace_id()}-")


async def test_spans_reach_the_collector_in_the_messages_trace() -> None:
    trace_id = context.new_trace_id()

    def work() -> None:
        context.trace_id.set(trace_id)
        with Tracing(endpoint), tracing.span(tracing.TURN, "session", conversation="msg_1"):
            with tracing.span(tracing.MODEL, "main") as span:
                span.set("gen_ai.usage.output_tokens", 7)
            assert tracing.traceparent().split("-")[1] == trace_id

    async with collector() as (endpoint, got):
        await asyncio.to_thread(work)
    spans = spans_of(got)
    assert [span.name for span in spans] == ["chat main", "invoke_agent"]
    assert {span.trace_id.hex() for span in spans} == {trace_id}
    assert spans[0].parent_span_id == spans[1].span_id
    names = {attribute.key for attribute in spans[0].attributes}
    assert {"gen_ai.operation.name", "gen_ai.request.model", "gen_ai.usage.output_tokens"} <= names
