"""What is known of a session without its file: folded from its records, one after another.

A pure machine. A `Summary` is never changed once it is made: `folded` gives a new one,
so the event loop, the writer and the checkpoint may each hold their own without a lock.
Numbers: a reservation (`turn.started`, `seq.reserved`) hands out numbers that are not
stored one by one; a record of `_EXACT` ends it, and then the last stored number is the
last one given. A reservation that is found open when a store starts means a crash.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter

import orjson

from agent.ports.sessions import Record, SessionHead, SessionState
from agent.sessions.records import (
    DONE,
    ENDS_TURN,
    MESSAGE,
    SEQ_MARK,
    SEQ_RESERVED,
    TURN_PAUSED,
    TURN_STARTED,
    UPDATED,
)
from bus.events import JsonObject
from bus.keys import SessionKey

_EXACT = frozenset({SEQ_MARK, TURN_PAUSED}) | ENDS_TURN
_QUIET = frozenset({SEQ_MARK, SEQ_RESERVED, TURN_PAUSED})
_NOT_SETTINGS = frozenset({"title", "owner", "deleted", "message_id"})
MAX_REPLACING = 1000


@dataclass(slots=True)
class Summary:
    """`touched` orders sessions by their last change, over the whole store. `record_seq` is the last stored number."""

    key: SessionKey
    agent_id: str = "main"
    channel: str = ""
    peer_id: str = ""
    owner: str = ""
    created_at: str = ""
    title: str = ""
    updated_at: str = ""
    message_count: int = 0
    listed: bool = True
    deleted: bool = False
    record_seq: int = 0
    reserved: int = 0
    crashed: bool = False
    open_turns: tuple[str, ...] = ()
    settings: JsonObject = field(default_factory=dict)
    replacing: tuple[tuple[int, str], ...] = ()
    """(seq, message_id replaced) of the messages that take an earlier one's place."""
    touched: int = 0

    @property
    def last_seq(self) -> int:
        return max(self.record_seq, self.reserved)

    @property
    def busy(self) -> bool:
        """A turn is open or numbers are reserved: what a restart must look at."""
        return bool(self.open_turns) or self.reserved > self.record_seq

    def head(self) -> SessionHead:
        return SessionHead(
            key=self.key, agent_id=self.agent_id, channel=self.channel, peer_id=self.peer_id, owner=self.owner,
            created_at=self.created_at, title=self.title, updated_at=self.updated_at or self.created_at,
            message_count=self.message_count, listed=self.listed, deleted=self.deleted, settings=self.settings,
        )  # fmt: skip

    def state(self) -> SessionState:
        return SessionState(head=self.head(), last_seq=self.last_seq, crashed=self.crashed, open_turns=self.open_turns)

    def after_crash(self) -> "Summary":
        """The same, found when a store starts: a reservation still open means that numbers may be missing."""
        return replace(self, crashed=True) if self.reserved > self.record_seq and not self.crashed else self

    def to_bytes(self) -> bytes:
        """For the index; without what its columns hold."""
        return orjson.dumps([getattr(self, name) for name in _PACKED])

    @classmethod
    def from_bytes(cls, key: SessionKey, packed: bytes) -> "Summary":
        """Raises ValueError."""
        values = dict(zip(_PACKED, orjson.loads(packed), strict=True))
        values["open_turns"] = tuple(values["open_turns"])
        values["replacing"] = tuple((seq, old) for seq, old in values["replacing"])
        return cls(key, **values)


_VALUES = attrgetter(*(f.name for f in fields(Summary)))
_PACKED = tuple(f.name for f in fields(Summary) if f.name not in ("key", "crashed", "touched"))


def begun(head: SessionHead, before: Summary | None) -> Summary:
    """A new session, or a new one under the key of a deleted one, whose numbers go on."""
    return Summary(
        head.key, agent_id=head.agent_id, channel=head.channel, peer_id=head.peer_id, owner=head.owner,
        created_at=head.created_at, title=head.title, updated_at=head.created_at, listed=head.listed,
        settings=dict(head.settings), record_seq=before.last_seq if before else 0,
        crashed=before.crashed if before else False,
    )  # fmt: skip


def folded(summary: Summary, records: Iterable[Record], touched: int = 0) -> Summary:
    """`summary` after `records`. Records whose number isn't higher than the last are passed over."""
    out = Summary(*_VALUES(summary))
    out.touched = touched or out.touched
    for record in records:
        if record.seq > out.record_seq:
            _fold(out, record)
    return out


def _fold(out: Summary, record: Record) -> None:
    kind, data = record.type, record.data
    if out.crashed and record.seq > out.reserved:
        out.crashed, out.reserved = False, 0
    out.record_seq = record.seq
    if kind not in _QUIET:
        out.updated_at = record.timestamp
    if kind in _EXACT:
        out.reserved = 0
        out.crashed = False
    if kind == MESSAGE:
        _fold_message(out, record)
    elif kind in (TURN_STARTED, SEQ_RESERVED):
        if out.deleted:
            return  # the session that comes after it goes on with the lane's next number, not behind a block of them
        out.reserved = max(out.reserved, _number(data.get("reserved")))
    elif kind in ENDS_TURN:
        ended = data.get("message_id")
        out.open_turns = tuple(turn for turn in out.open_turns if turn != ended)
        out.message_count += (kind == DONE) and not out.deleted
    elif kind == UPDATED:
        _fold_update(out, data)


def _fold_message(out: Summary, record: Record) -> None:
    message_id = str(record.data.get("message_id", ""))
    if out.deleted:
        return
    out.message_count += 1
    if record.data.get("wants_reply", True) and message_id not in out.open_turns:
        out.open_turns = (*out.open_turns, message_id)
    replaces = record.data.get("replaces")
    if replaces:
        out.replacing = (*out.replacing[-MAX_REPLACING + 1 :], (record.seq, str(replaces)))


def _fold_update(out: Summary, data: JsonObject) -> None:
    if data.get("deleted"):
        out.deleted, out.title, out.message_count = True, "", 0
        out.open_turns, out.replacing, out.settings = (), (), {}
        out.reserved, out.crashed = 0, False  # nobody is told anything of it any more
    if data.get("title") is not None and not out.deleted:
        out.title = str(data["title"])
    if data.get("owner") is not None:
        out.owner = str(data["owner"])
    more = {name: value for name, value in data.items() if name not in _NOT_SETTINGS}
    if more and not out.deleted:
        out.settings = {name: value for name, value in {**out.settings, **more}.items() if value is not None}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
