"""A free way to one tool of one server, in the words of the tunnel's calls (`ports.Lane`).

Above is `quick.py`, which the aggregator hands it to; below, the server's own lane.
"""

from bridge.catalogue import progress_payload, question_payload
from bridge.ports import Clock, Finished, JsonObject, OnProgress, OnQuestion
from bridge.servers.calls import Call
from bridge.servers.requests import Lane as ServerLane
from bridge.servers.requests import Posted


class Lane:
    """A free way to a server: for one `tools/call`, at once."""

    __slots__ = ("_lane", "_name")

    def __init__(self, lane: ServerLane, own_name: str) -> None:
        self._lane = lane
        self._name = own_name

    @property
    def timeout(self) -> float:
        return self._lane.timeout

    def post(
        self, arguments: JsonObject | None, clock: Clock, on_progress: OnProgress, on_question: OnQuestion,
        finished: Finished,
    ) -> Posted:  # fmt: skip
        """Send the call."""
        params: JsonObject = {"name": self._name}
        if arguments is not None:
            params["arguments"] = arguments
        call = Call(
            clock, lambda news: on_progress(progress_payload(news)),
            lambda question: on_question(question_payload(question)),
        )  # fmt: skip
        return self._lane.post("tools/call", params, call, finished)
