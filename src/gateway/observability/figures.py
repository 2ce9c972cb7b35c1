"""The figures that are read from the gateway's status when somebody asks. Pure.

A figure is a gauge, or with `total` a counter that its owner keeps. No label names a user or a session.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric: a number, or numbers by the values of `label`. The name goes without `gateway_` and `_total`."""

    name: str
    text: str
    value: float | Mapping[str, float]
    label: str = ""
    total: bool = False


def figures_of(status: Mapping[str, Any]) -> list[Figure]:
    """What `/status` tells, as figures."""
    queues, hub, tools = status["queues"], status["hub"], status.get("tools", {})
    models, channels = status["models"], status["channels"]
    ready = {name: float(state["state"] == "ready") for name, state in channels.items()}
    queued = {name: float(state.get("queued", 0)) for name, state in channels.items()}
    pool = status.get("model_pool", {})
    rounds: dict[str, float] = {}
    failed: dict[str, float] = {}
    able: dict[str, float] = {}
    for model in models:  # once for each of a model's keys
        name = str(model["name"])
        rounds[name] = rounds.get(name, 0) + model.get("rounds", 0)
        failed[name] = failed.get(name, 0) + sum(model.get("failures", {}).values())
        able[name] = max(able.get(name, 0.0), float(model.get("state", "ready") == "ready"))
    return [
        Figure("uptime_seconds", "Seconds since the start.", status["uptime_seconds"]),
        Figure("ready", "1 while messages are taken in.", float(status["ready"])),
        Figure("connections", "WebSocket clients connected.", status["connections"]),
        *_bridges(status.get("bridges")),
        Figure("turns_running", "Turns under way.", queues.get("running", 0)),
        Figure("messages_queued", "Messages that wait for their turn.", queues.get("queued", 0)),
        Figure("messages_waiting_for_disk", "Messages that are being made durable.", queues.get("waiting_for_disk", 0)),
        Figure("replay_bytes", "Bytes kept for clients that come back.", hub["replay_bytes"]),
        Figure("sessions_live", "Sessions with kept events.", hub["sessions"]),
        Figure("channel_ready", "1 while a channel is connected.", ready, "channel"),
        Figure("channel_queued", "What waits to leave to a platform.", queued, "channel"),
        Figure("model_ready", "1 while a model takes requests.", able, "model"),
        Figure("model_rounds", "Rounds asked of a model.", rounds, "model", total=True),
        Figure("model_failures", "Rounds that failed at a model.", failed, "model", total=True),
        Figure("model_retries", "Rounds asked a second time.", pool.get("retries", 0), total=True),
        Figure("model_failovers", "Rounds that went on to another model or key.", pool.get("failovers", 0), total=True),
        Figure("modes_chosen", "Turns by the mode they got.", status.get("modes", {}), "mode", total=True),
        Figure("tools_guarded", "Tool calls that passed the guard.", tools.get("calls", 0), total=True),
        Figure("tools_refused", "Tool calls that the guard refused.", tools.get("refused", 0), total=True),
    ]


def _bridges(bridges: Any) -> list[Figure]:
    """The tunnel's share; a status without one has no bridges."""
    told: Mapping[str, Any] = bridges if isinstance(bridges, Mapping) else {}
    latency = told.get("latency_ms")
    return [
        Figure("bridges_connected", "Bridges of people's computers, connected.", float(told.get("connected", 0))),
        Figure("bridge_calls", "Tool calls sent to bridges.", float(told.get("calls", 0)), total=True),
        Figure("bridge_calls_in_flight", "Tool calls that bridges have now.", float(told.get("in_flight", 0))),
        Figure("bridge_calls_refused", "Tool calls that bridges refused.", float(told.get("refused", 0)), total=True),
        Figure(
            "bridge_latency_seconds", "Round trip to bridges, mean of the last heartbeats.", (latency or 0.0) / 1000
        ),
    ]
