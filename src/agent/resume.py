"""How far a turn got, read from its records: the turn's state machine read backwards.

Pure. A turn is: `message`, then `turn.started` (an attempt), then rounds (the first
`tool.started` of each carries the model's whole step), a `tool.finished` for each
call, and `chat.done` or `chat.error`. After a crash it goes on from the last of
these that reached the disk.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.ports.sessions import Record
from agent.sessions import records as kinds
from bus.context import parse_timestamp
from bus.events import JsonObject

MAX_ATTEMPTS = 3
ATTEMPT_WINDOW_SECONDS = 24 * 3600.0


@dataclass(slots=True)
class Round:
    """One step of the model, and what became of its calls."""

    text: str
    calls: list[JsonObject]
    usage: JsonObject
    model: str = ""
    attempt: int = 0
    """The model that was asked, and in which attempt; '' where a later record has counted the round already."""
    started: set[str] = field(default_factory=set)
    asking: set[str] = field(default_factory=set)
    """Calls about which somebody is asked, as far as the log knows: begun, perhaps not made."""
    results: dict[str, JsonObject] = field(default_factory=dict)


@dataclass(slots=True)
class TurnProgress:
    """What is durable of a turn that did not end."""

    attempts: int = 0
    """Attempts used up within the last 24 h."""
    mode: str = ""
    rounds: list[Round] = field(default_factory=list)
    spent: dict[str, JsonObject] = field(default_factory=dict)
    """Usage by model up to the last pause, what no round tells of (sub-agents, plans) included."""
    tool_calls: int = 0
    """Made up to the last pause."""
    cut: dict[int, str] = field(default_factory=dict)
    """Attempts that a crash cut while a model was asked, and the model; what they had streamed is not known."""
    by_agents: dict[str, JsonObject] = field(default_factory=dict)
    """What sub-agents called, by call id: {name, arguments, result, asking}; result None where there is none."""

    @property
    def exhausted(self) -> bool:
        """Whether no further attempt is allowed."""
        return self.attempts >= MAX_ATTEMPTS


def progress_of(message_id: str, records: Iterable[Record], now: float) -> TurnProgress:
    """The progress of one turn; `now` in seconds since the epoch."""
    progress = TurnProgress()
    begun: tuple[int, str] | None = None
    for record in records:
        data = record.data
        if data.get("message_id") != message_id:
            continue
        match record.type:
            case kinds.TURN_STARTED:
                _note_cut(progress, begun)
                begun = data.get("attempt") or 0, data.get("model") or ""
                progress.mode = data.get("mode") or progress.mode
                if now - _seconds(record.timestamp, now) < ATTEMPT_WINDOW_SECONDS:
                    progress.attempts += 1
            case kinds.TURN_PAUSED:
                begun = None  # a pause has counted all there was
                progress.attempts = max(0, progress.attempts - 1)
                if "spent" in data:
                    progress.spent, progress.tool_calls = data["spent"], data.get("tool_calls", 0)
                    for earlier in progress.rounds:
                        earlier.model = ""
            case kinds.TOOL_STARTED if not data.get("agent"):
                step = data.get("round")
                if step:
                    progress.rounds.append(
                        Round(
                            step.get("text") or "", list(step["calls"]), step.get("usage") or {},
                            step.get("model") or "", step.get("attempt") or 0,
                        )
                    )  # fmt: skip
                if progress.rounds:
                    progress.rounds[-1].started.add(data["call_id"])
            case kinds.TOOL_FINISHED if not data.get("agent") and progress.rounds:
                progress.rounds[-1].results[data["call_id"]] = data
            case kinds.TOOL_STARTED:
                progress.by_agents[data["call_id"]] = {
                    "name": data["name"], "arguments": data["arguments"], "result": None, "asking": False,
                }  # fmt: skip
            case kinds.TOOL_FINISHED if data["call_id"] in progress.by_agents:
                progress.by_agents[data["call_id"]]["result"] = data
            case kinds.APPROVAL_REQUESTED | kinds.APPROVAL_RESOLVED:
                _asked(progress, data["call_id"], record.type == kinds.APPROVAL_REQUESTED)
    _note_cut(progress, begun)
    return progress


def _note_cut(progress: TurnProgress, begun: tuple[int, str] | None) -> None:
    """An attempt ended without an end: in the middle of its tools, or else while a model was asked."""
    last = progress.rounds[-1] if progress.rounds else None
    if begun is not None and (last is None or all(call["call_id"] in last.results for call in last.calls)):
        progress.cut[begun[0]] = begun[1]


def _asked(progress: TurnProgress, call_id: str, waiting: bool) -> None:
    if call_id in progress.by_agents:
        progress.by_agents[call_id]["asking"] = waiting
    elif progress.rounds and waiting:
        progress.rounds[-1].asking.add(call_id)
    elif progress.rounds:
        progress.rounds[-1].asking.discard(call_id)


def _seconds(timestamp: str, default: float) -> float:
    try:
        return parse_timestamp(timestamp)
    except ValueError:
        return default
