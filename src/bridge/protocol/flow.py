"""Large responses in chunks, under credits, in fair turns: the sending and the receiving half.

A response above 256 KiB travels as `CHUNK`s of its JSON text. The receiver grants bytes (of UTF-8) for each call
and for the connection; the sender never has more under way. `Chunker` (the bridge) gives each call one chunk a
turn; `Assembler` (the gateway) joins them and hands out new credit. Neither knows a socket or a clock.
"""

from collections import OrderedDict
from collections.abc import Iterator

from bridge.errors import BadParameters, ToolResultInvalid
from bridge.protocol.frames import CALL_CREDIT, CHUNK_BYTES, CONNECTION_CREDIT, FRAME_ROOM, MAX_FRAME_BYTES, encode

_CHUNK_COST = 1024
"""What a piece counts beside its bytes where it brings nothing."""
_FULL_SPEED_CALLS = 2
"""How many calls are granted more than their first window at once: bounds what is half-assembled."""


class _Outgoing:
    __slots__ = ("at", "credit", "data", "n")

    def __init__(self, data: bytes, credit: int) -> None:
        self.data = data
        self.at = 0
        self.n = 0
        self.credit = credit


class Chunker:
    """What waits to be sent in chunks on one connection."""

    def __init__(self, call_credit: int = CALL_CREDIT, connection_credit: int = CONNECTION_CREDIT) -> None:
        self._calls: OrderedDict[str, _Outgoing] = OrderedDict()
        self.largest_frame = MAX_FRAME_BYTES
        self._call_credit = call_credit
        self._credit = connection_credit

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call_id: str, data: bytes) -> None:
        """Send `data`, the JSON text of a response; again from the start if it was under way."""
        self._calls[call_id] = _Outgoing(data, self._call_credit)

    def drop(self, call_id: str) -> None:
        """Send no more of this call."""
        self._calls.pop(call_id, None)

    def grant(self, call_id: str | None, credit: int) -> None:
        """`WINDOW` came."""
        if call_id is None:
            self._credit += credit
        elif call_id in self._calls:
            self._calls[call_id].credit += credit

    def next(self) -> bytes | None:
        """The next `CHUNK` frame, of the call whose turn it is; None where credit is out or all is sent."""
        if self._credit <= 0:
            return None
        for call_id, call in self._calls.items():
            if call.credit > 0:
                frame = self._cut(call_id, call)
                if frame is not None:
                    return frame
        return None

    def _cut(self, call_id: str, call: _Outgoing) -> bytes | None:
        # JSON in a text of JSON: quotes and backslashes take two bytes there, and it has no bare control characters
        room = min(CHUNK_BYTES, (self.largest_frame - FRAME_ROOM) // 2, call.credit, self._credit)
        end = whole_characters(call.data, call.at, min(call.at + room, len(call.data)))
        if end <= call.at:
            return None  # less credit than one character needs
        piece = call.data[call.at : end]
        last = end == len(call.data)
        frame = encode("CHUNK", call_id, {"n": call.n, "last": last, "data": piece.decode()})
        call.at, call.n = end, call.n + 1
        call.credit -= len(piece)
        self._credit -= len(piece)
        if last:
            del self._calls[call_id]
        else:
            self._calls.move_to_end(call_id)
        return frame


def whole_characters(data: bytes, start: int, end: int) -> int:
    """The greatest position up to `end` that does not split a character of UTF-8."""
    if end >= len(data):
        return len(data)
    while end > start and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


class _Incoming:
    __slots__ = ("credit", "idle", "n", "parts", "size", "withheld")

    def __init__(self, credit: int) -> None:
        self.parts: list[bytes] = []
        self.n = 0
        self.size = 0
        self.credit = credit
        self.withheld = 0
        self.idle = 0


class Assembler:
    """What is half received on one connection. `max_bytes` bounds one response."""

    __slots__ = ("_call_credit", "_calls", "_connection_window", "_credit", "_max", "_owed")

    def __init__(
        self, max_bytes: int, call_credit: int = CALL_CREDIT, connection_credit: int = CONNECTION_CREDIT
    ) -> None:
        self._calls: dict[str, _Incoming] = {}
        self._max = max_bytes
        self._call_credit = call_credit
        self._credit = connection_credit
        self._connection_window = connection_credit
        self._owed = 0

    def __len__(self) -> int:
        return len(self._calls)

    def drop(self, call_id: str) -> list[bytes]:
        """Forget what came of this call; the `WINDOW` frames that others get by it."""
        if self._calls.pop(call_id, None) is None:
            return []
        return list(self._release())

    def accept(self, call_id: str, n: object, last: object, data: object) -> tuple[list[bytes] | None, list[bytes]]:
        """One chunk: the parts of the whole text if it was the last, and the `WINDOW` frames to send.

        A chunk that came before is ignored; the first one begins the text again, as the sender does where it is asked
        for an answer once more, with a first window of its own and what was granted before. Raises ToolResultInvalid
        (2005) for a gap, for more than was granted and for too much; BadParameters for what is no chunk. The call is
        forgotten then.
        """
        if type(n) is not int or type(last) is not bool or type(data) is not str:
            self._calls.pop(call_id, None)
            raise BadParameters("a chunk has n, last and data", effect="done")
        call = self._calls.get(call_id)
        if call is None:
            call = _Incoming(self._call_credit)
            self._calls[call_id] = call
        if n == 0 and call.n:
            idle = call.idle
            call = self._calls[call_id] = _Incoming(call.credit + call.size)
            call.idle = idle
            self._idle(call_id, call, 0)
        if n < call.n:
            return None, self._again(call_id, call, data)
        try:
            piece = data.encode()
        except UnicodeEncodeError:
            piece = b"\xff"
            n = -1
        size = len(piece)
        call.n, call.size, call.credit = call.n + 1, call.size + size, call.credit - size
        self._credit -= size
        self._owed += size
        if n != call.n - 1 or call.credit < 0 or self._credit < 0 or call.size > self._max:
            self._calls.pop(call_id, None)
            why = "a piece is missing" if n != call.n - 1 else "it is too large"
            raise ToolResultInvalid(f"the result can't be used: {why}", effect="done")
        if piece or last:
            call.parts.append(piece)
        else:
            self._idle(call_id, call, 0)
        windows = list(self._connection())
        if last:
            del self._calls[call_id]
            windows.extend(self._release())
            return call.parts, windows
        call.withheld += size
        windows.extend(self._release())
        return None, windows

    def _again(self, call_id: str, call: _Incoming, data: str) -> list[bytes]:
        """A chunk that came before: it was sent on credit, which goes on."""
        size = len(data.encode(errors="replace"))
        self._idle(call_id, call, size)
        call.credit -= size
        call.withheld += size
        return [*self.discard(data), *self._release()]

    def _idle(self, call_id: str, call: _Incoming, size: int) -> None:
        """A piece that brings nothing new; of those, too, there is an end. Raises ToolResultInvalid."""
        call.idle += size + _CHUNK_COST
        if call.idle > self._max:
            self._calls.pop(call_id, None)
            raise ToolResultInvalid("the result can't be used: pieces without end that bring nothing", effect="done")

    def discard(self, data: object) -> list[bytes]:
        """A chunk that nobody waits for: only the connection's credit goes on."""
        size = len(data.encode(errors="replace")) if isinstance(data, str) else 0
        self._credit -= size
        self._owed += size
        return list(self._connection())

    def _connection(self) -> Iterator[bytes]:
        if self._owed >= self._connection_window // 4:
            credit, self._owed = self._owed, 0
            self._credit += credit
            yield encode("WINDOW", None, {"credit": credit})

    def _release(self) -> Iterator[bytes]:
        for index, (call_id, call) in enumerate(self._calls.items()):
            if index >= _FULL_SPEED_CALLS:
                return
            if call.withheld >= self._call_credit // 4:
                credit, call.withheld = call.withheld, 0
                call.credit += credit
                yield encode("WINDOW", call_id, {"credit": credit})
