"""What a bridge knows beyond one connection: calls under way, answers until they are acknowledged, frames seen.

`BridgeLink`s share one `Outbox`; the ledger fills it again after a restart. It knows no socket and no disk.
"""

from dataclasses import dataclass
from typing import Literal

from bridge.protocol.recent import Recent

_SEEN = 32_768


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: the JSON text of the payload of its `MCP_RESPONSE` or its `ERROR`."""

    kind: Literal["MCP_RESPONSE", "ERROR"]
    payload: bytes


class Outbox:
    """`running`: ids without an answer yet. `answers`: kept until the gateway acknowledges them."""

    def __init__(self) -> None:
        self.running: dict[str, None] = {}
        self.answers: dict[str, Answer] = {}
        self._seen: Recent[int, None] = Recent(_SEEN)

    def in_flight(self) -> list[dict[str, str]]:
        """What AUTH tells: `[{"id", "state"}]`."""
        done = [{"id": call_id, "state": "done"} for call_id in self.answers]
        return done + [{"id": call_id, "state": "running"} for call_id in self.running if call_id not in self.answers]

    def first_time(self, epoch: int, call_id: str, attempt: int) -> bool:
        """Whether this (epoch, id, attempt) is new. Older ones than the last 32,768 are left to the ledger.

        Of all epochs together: on a drain the old connection and the new one are both there. Kept as hashes, which take
        a third of the memory; two that are alike by chance are not to be expected, nor can a gateway make them.
        """
        mark = hash((epoch, call_id, attempt))
        if mark in self._seen:
            return False
        self._seen.put(mark, None)
        return True
