"""Figures: counted once, named without people, and cheap for deltas."""

from prometheus_client.parser import text_string_to_metric_families

from bus.events import (
    AgentNote,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    ChatDone,
    ChatError,
    ChatMessage,
    ChatStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    Usage,
)
from bus.keys import SessionKey
from gateway.observability.figures import Figure
from gateway.observability.metrics import Metrics

KEY = SessionKey("private-session-of-ann", "ann")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def values(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            label = ",".join(f"{k}={v}" for k, v in sample.labels.items())
            found[sample.name + (f"{{{label}}}" if label else "")] = sample.value
    return found


def test_a_turn_is_counted_when_it_ends():
    clock = Clock()
    metrics = Metrics(version="1.2.3", now=clock)
    metrics.observe(ChatMessage(session=KEY, message_id="m", seq=1, role="user", text="secret words", channel="cli"))
    metrics.observe(ChatStarted(session=KEY, message_id="m", seq=2, mode="single", model="demo", attempt=1))
    for seq in range(3, 6):
        metrics.observe(ChatDelta(KEY, "m", seq, "x"))
    assert values(metrics)["gateway_deltas_total"] == 0
    metrics.observe(ToolStarted(session=KEY, message_id="m", seq=6, call_id="c", name="t", arguments={}))
    metrics.observe(
        ToolFinished(session=KEY, message_id="m", seq=7, call_id="c", is_error=True, duration_ms=250, preview="")
    )
    clock.now += 3
    usage = Usage(prompt_tokens=10, completion_tokens=5, cost=0.5)
    metrics.observe(ChatDone(session=KEY, message_id="m", seq=8, text="xxx", finish_reason="stop", usage=usage))
    found = values(metrics)
    assert found["gateway_deltas_total"] == 3
    assert found["gateway_messages_total{channel=cli}"] == 1
    assert found["gateway_turns_total{outcome=stop}"] == 1
    assert found["gateway_tool_calls_total{outcome=error}"] == 1
    assert found["gateway_turn_seconds_sum"] == 3 and found["gateway_tool_seconds_sum"] == 0.25
    assert found["gateway_tokens_total{kind=prompt}"] == 10 and found["gateway_cost_dollars_total"] == 0.5
    assert found["gateway_info{version=1.2.3}"] == 1


def test_other_numbers_of_the_session_are_no_deltas():
    """Progress, questions, notes, what others say meanwhile, and a command that is answered in between."""
    metrics, mine = Metrics(), {"session": KEY, "message_id": "m"}
    metrics.observe(ChatStarted(**mine, seq=2, mode="single", model="demo", attempt=1))
    metrics.observe(ToolStarted(**mine, seq=3, call_id="c", name="t", arguments={}))
    metrics.observe(ToolProgress(**mine, seq=4, call_id="c", progress=0.5))
    metrics.observe(ApprovalRequested(**mine, seq=5, approval_id="a", call_id="c", tool="t", arguments={}, risk="",
                                      expires_at="", user="ann"))  # fmt: skip
    metrics.observe(ApprovalResolved(**mine, seq=6, approval_id="a", decision="deny", by="ann", user="ann"))
    metrics.observe(ToolFinished(**mine, seq=7, call_id="c", is_error=True, duration_ms=1, preview=""))
    metrics.observe(AgentNote(**mine, seq=8, agent="", state="x"))
    metrics.observe(ChatMessage(session=KEY, message_id="n", seq=9, role="user", text="/status", channel="cli"))
    metrics.observe(ChatStarted(session=KEY, message_id="n", seq=10, mode="command", model="", attempt=1))
    done = {"text": "", "finish_reason": "stop", "usage": Usage()}
    metrics.observe(ChatDone(session=KEY, message_id="n", seq=12, **done))  # 11 was its delta
    assert values(metrics)["gateway_deltas_total"] == 1
    metrics.observe(ChatDone(**mine, seq=15, **done))  # 13 and 14 were deltas
    assert values(metrics)["gateway_deltas_total"] == 3
    assert values(metrics)["gateway_turn_seconds_count"] == 2
    assert metrics._open == {}


def test_errors_have_their_code():
    metrics = Metrics()
    metrics.observe(ChatError(session=KEY, message_id="m", seq=1, code=1004, message="late", retryable=True))
    assert values(metrics)["gateway_turn_errors_total{code=1004}"] == 1


def test_gauges_are_asked_when_they_are_read():
    metrics = Metrics()
    connections = 3.0
    metrics.offer(lambda: [
        Figure("connections", "Open connections.", connections),
        Figure("channel_queue", "What waits.", {"telegram": 2, "discord": 0}, "channel"),
        Figure("rounds", "Rounds.", {"demo": 5}, "model", total=True),
    ])  # fmt: skip
    assert values(metrics)["gateway_connections"] == 3
    connections = 7.0
    found = values(metrics)
    assert found["gateway_connections"] == 7 and found["gateway_channel_queue{channel=telegram}"] == 2
    assert found["gateway_rounds_total{model=demo}"] == 5


def test_nobody_is_named():
    metrics = Metrics()
    metrics.observe(ChatMessage(session=KEY, message_id="m-1", seq=1, role="user", text="words", channel="websocket"))
    metrics.observe(ChatError(session=KEY, message_id="m-1", seq=2, code=1004, message="late", retryable=True))
    text = metrics.render().decode()
    assert "ann" not in text.replace("channel", "") and "m-1" not in text and "words" not in text
