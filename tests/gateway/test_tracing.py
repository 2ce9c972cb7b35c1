"""Spans of a message share its trace, and go out over OTLP."""

import asyncio

from aiohttp import web

from bus import context, tracing
from gateway.observability.tracing import Tracing


async def test_off_it_costs_nothing_and_says_nothing() -> None:
    with tracing.span(tracing.MODEL, "gpt") as span:
        span.set("gen_ai.usage.input_tokens", 3)
    assert tracing.traceparent().startswith(f"00-{context.current_trace_id()}-")


async def test_spans_reach_the_collector_in_the_messages_trace() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[bytes] = []

    async def collect(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    trace_id = context.new_trace_id()

    def work() -> None:
        context.trace_id.set(trace_id)
        with (
            Tracing(f"http://127.0.0.1:{port}/v1/traces"),
            tracing.span(tracing.TURN, "session", conversation="msg_1"),
        ):
            with tracing.span(tracing.MODEL, "main") as span:
                span.set("gen_ai.usage.output_tokens", 7)
            assert tracing.traceparent().split("-")[1] == trace_id

    await asyncio.to_thread(work)
    await runner.cleanup()
    request = ExportTraceServiceRequest.FromString(b"".join(got))
    spans = [span for scope in request.resource_spans[0].scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["chat main", "invoke_agent"]
    assert {span.trace_id.hex() for span in spans} == {trace_id}
    assert spans[0].parent_span_id == spans[1].span_id
    names = {attribute.key for attribute in spans[0].attributes}
    assert {"gen_ai.operation.name", "gen_ai.request.model", "gen_ai.usage.output_tokens"} <= names
