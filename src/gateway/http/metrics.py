"""The numbers of `/metrics` in Prometheus' text format (0.0.4), read when they are asked for.

Nothing is counted on the way of a delta: each neighbour keeps its own plain numbers.
"""

from collections.abc import Mapping

from bus.events import JsonObject

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Page:
    """One answer in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, explanation: str, values: Mapping[str, float] | float, label: str = "") -> None:
        """A metric: one number, or one for each value of `label`."""
        self._lines.append(f"# HELP {name} {explanation}")
        self._lines.append(f"# TYPE {name} {kind}")
        if isinstance(values, int | float):
            self._lines.append(f"{name} {values}")
            return
        for value, number in values.items():
            self._lines.append(f'{name}{{{label}="{value.translate(_ESCAPES)}"}} {number}')

    def render(self) -> bytes:
        """The text."""
        return ("\n".join(self._lines) + "\n").encode()


def page(status: JsonObject) -> bytes:
    """The gateway's numbers out of its status."""
    out = Page()
    queues, hub = status["queues"], status["hub"]
    out.add("gateway_info", "gauge", "The version that runs.", {status["version"]: 1}, "version")
    out.add("gateway_uptime_seconds", "gauge", "Seconds since the start.", status["uptime_seconds"])
    out.add("gateway_ready", "gauge", "1 while messages are taken in.", int(status["ready"]))
    out.add("gateway_connections", "gauge", "WebSocket clients connected.", status["connections"])
    out.add("gateway_turns_total", "counter", "Turns ended.", queues.get("turns", 0))
    out.add("gateway_turns_running", "gauge", "Turns under way.", queues.get("running", 0))
    out.add("gateway_messages_queued", "gauge", "Messages that wait for their turn.", queues.get("queued", 0))
    out.add("gateway_replay_bytes", "gauge", "Bytes kept for clients that come back.", hub["replay_bytes"])
    out.add("gateway_sessions_live", "gauge", "Sessions with kept events.", hub["sessions"])
    models = status["models"]
    out.add("gateway_model_rounds_total", "counter", "Rounds asked of a model.",
            {str(m["name"]): m.get("rounds", 0) for m in models}, "model")  # fmt: skip
    ready = {name: int(state["state"] == "ready") for name, state in status["channels"].items()}
    out.add("gateway_channel_ready", "gauge", "1 while a channel is connected.", ready, "channel")
    return out.render()
