"""What was told to whom: every frame that a client gets is checked the moment it comes.

`Book` is the truth about all sessions, `Ear` is what one reader was told of them. Above is `people.py`, which says
things and asks for events; nothing here waits or sends.
"""

import re
from dataclasses import dataclass, field
from typing import Any

ENDS = ("chat.done", "chat.error")
MARK = re.compile(r"<(\w+)-(\d+)>")
Event = dict[str, Any]


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class Said:
    """A message that somebody tried to say. `message_id` and `seq` once it was accepted."""

    user: str
    session: str
    text: str
    mark: str
    key: str | None = None
    sent: int = 0
    """How often it was sent."""
    message_id: str = ""
    seq: int = 0
    after_delete: int = 0
    """How many deletions of its session were over when it was first said."""
    gone_for_sure: bool = False
    """It was accepted before its session was deleted."""


@dataclass
class Book:
    """The truth. `rough`: the disk refuses now and then; `crashed`: a gateway was killed."""

    rough: bool = False
    crashed: bool = False
    said: list[Said] = field(default_factory=list)
    by_id: dict[str, Said] = field(default_factory=dict)
    facts: dict[tuple[str, str], dict[int, tuple[Any, ...]]] = field(default_factory=dict)
    ends: dict[str, dict[int, Event]] = field(default_factory=dict)
    deletions: dict[tuple[str, str], int] = field(default_factory=dict)
    """(user, session) -> how many were asked for."""
    deleted: dict[tuple[str, str], int] = field(default_factory=dict)
    """... and were answered."""
    gaps: list[tuple[str, str, int, int, str, list[str]]] = field(default_factory=list)
    """(user, session, first, last, reader, what he heard before): not told to him, to be found in the log."""
    trouble: list[str] = field(default_factory=list)
    operations: int = 0

    def broken(self, what: str) -> None:
        """Note it; the run ends with it."""
        self.trouble.append(what)

    def accepted(self, said: Said, result: Event) -> None:
        """An answer to `said` that names its message."""
        message_id, seq = result["message_id"], result.get("seq", 0)
        if said.message_id and said.message_id != message_id:
            self.broken(f"{said.mark} became two messages: {said.message_id}, {message_id}")
        if said.seq and seq and said.seq != seq:
            self.broken(f"{said.mark} got two numbers: {said.seq}, {seq}")
        said.message_id, said.seq = message_id, said.seq or seq
        self.by_id[message_id] = said
        if seq:
            self.fact(said.user, said.session, seq, ("chat.message", message_id))

    def fact(self, user: str, session: str, seq: int, what: tuple[Any, ...]) -> None:
        """One number stands for one event, for ever and for everybody."""
        before = self.facts.setdefault((user, session), {}).setdefault(seq, what)
        if before != what:
            self.broken(f"{user}/{session} {seq} is {before} and {what}")

    def learn(self, user: str, event: Event) -> None:
        """Somebody was told this."""
        session, seq = event["session_key"], event["seq"]
        kind, message_id = event["type"], event.get("message_id", "")
        if "from_seq" not in event:
            detail = () if kind == "chat.message" else (event.get("delta", event.get("text")), event.get("call_id"))
            self.fact(user, session, seq, (kind, message_id, *detail))
        if kind in ENDS:
            ends = self.ends.setdefault(message_id, {})
            ends[seq] = event
            lost = [e for e in ends.values() if e["type"] == "chat.error" and e["code"] == 1007]
            if len(ends) - len(lost) > 1 or (len(ends) > 1 and not self.rough):
                self.broken(f"{message_id} ended more than once: {list(ends.values())}")


@dataclass
class Following:
    """What one reader was told of one session."""

    told: int = 0
    base: int = 0
    """The number after which the next must come, unless `loose`; what was held back for a request may be older."""
    cursor: int | None = None
    """Where a replay is that he asked for: below `told` he is told again."""
    explicit: bool = False
    loose: bool = True
    """It is not known which number comes next."""
    patchy: bool = False
    """Only a repeated message's own events were asked for again: what lies between them is not told."""
    turns: set[str] = field(default_factory=set)
    own: set[int] = field(default_factory=set)
    texts: dict[str, list[str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    heard: list[str] = field(default_factory=list)
    """What came, for whoever reads the report of a failure."""

    def note(self, what: str) -> None:
        if "delta" in what and len(self.heard) > 1 and "delta" in self.heard[-1] and "delta" in self.heard[-2]:
            self.heard[-1] = what  # a run of them: the first and the last
        else:
            self.heard.append(what)

    def again_from(self, seq: int) -> None:
        """He is told again; what two requests ask for again may come as one, when both were answered."""
        self.cursor = seq if self.cursor is None else min(self.cursor, seq)

    @property
    def reads(self) -> bool:
        return self.explicit or bool(self.turns)


class Ear:
    """One reader: a socket, or a stream over HTTP. It outlives its socket, so that it can resume."""

    def __init__(self, book: Book, user: str, name: str) -> None:
        self.book, self.user, self.name = book, user, name
        self.sessions: dict[str, Following] = {}
        self.events = 0

    def of(self, session: str) -> Following:
        return self.sessions.setdefault(session, Following())

    def broken(self, what: str) -> None:
        heard = next((f.heard[-14:] for s, f in self.sessions.items() if what.startswith(f"{s} ")), "")
        self.book.broken(f"{self.name}: {what}; heard {heard}")

    def lost(self) -> None:
        """The line is gone: nothing is followed until it is asked for again."""
        for following in self.sessions.values():
            following.heard.append("lost")
            following.explicit = False
            following.turns.clear()

    # ------------------------------------------------------------ results

    def began(self, said: Said, result: Event) -> None:
        """`chat.send_stream` was answered: from here on his turn is told."""
        following = self.of(said.session)
        following.heard.append(
            f"accepted {result['seq']} {result['message_id'][-4:]}{' again' * bool(said.message_id)}"
        )
        # Perhaps it came on another line first.
        repeated = bool(said.message_id) or said.sent > 1 or following.told > result["seq"]
        self.book.accepted(said, result)
        message_id, seq = result["message_id"], result["seq"]
        if repeated or message_id in following.ended:
            following.again_from(min(seq, following.told))
            following.patchy = following.patchy or not following.reads
            following.texts.clear()
        elif not following.reads:
            following.base, following.loose = max(seq, following.told), False
            following.texts.clear()
        following.own.add(seq)
        following.turns.add(message_id)

    def subscribed(self, session: str, after: int | None, result: Event) -> None:
        """`session.subscribe` was answered."""
        following = self.of(session)
        following.heard.append(f"subscribed {after} {result}")
        last = result["last_seq"]
        if after is not None:
            if after != following.told or following.cursor is not None:
                following.texts.clear()
            if after < following.told:
                following.again_from(after)
            following.base, following.loose = max(following.told, after), False
        elif not following.reads:
            if last < following.told:
                self.broken(f"{session}: last_seq {last}, and was told {following.told}")
            following.base, following.loose = last, False
            following.texts.clear()
        following.explicit = True

    def unsubscribed(self, session: str) -> None:
        self.of(session).explicit = False
        self.of(session).heard.append("unsubscribed")

    # ------------------------------------------------------------ events

    def hear(self, event: Event) -> None:
        """One event came."""
        self.events += 1
        if "session_key" not in event or event.get("seq") is None:
            return
        session, seq = event["session_key"], event["seq"]
        first = event.get("from_seq", seq)
        following = self.of(session)
        following.note(f"{seq} {event['type']} {event.get('message_id', '')[-4:]}")
        if not following.reads:
            self.broken(f"{session} {seq} {event['type']} was told unasked")
        self.book.learn(self.user, event)
        if following.cursor is not None:
            if first <= following.cursor:
                self.broken(f"{session} {first} ({event['type']}) was told after {following.cursor}, in a replay")
            following.cursor = seq if seq < following.told else None
        elif first <= following.told:
            self.broken(f"{session} {first} ({event['type']}) was told after {following.told}")
        if seq > following.told:
            if first > following.base + 1 and not (following.loose or following.patchy):
                self._missed(session, following, following.base + 1, first - 1)
            following.told, following.loose = seq, False
            following.base = max(following.base, seq)
        self._text(following, event)

    def _missed(self, session: str, following: Following, first: int, last: int) -> None:
        missing = [n for n in range(first, last + 1) if n not in following.own] if last - first < 50 else [first]
        if missing:
            self.book.gaps.append((self.user, session, first, last, self.name, following.heard[-12:]))
            if len(missing) > 1:
                following.texts.clear()

    def _text(self, following: Following, event: Event) -> None:
        message_id, kind = event.get("message_id", ""), event["type"]
        if kind == "chat.started":
            following.texts[message_id] = []
        elif kind == "chat.delta" and message_id in following.texts:
            following.texts[message_id].append(event["delta"])
        elif kind in ENDS:
            parts = following.texts.pop(message_id, None)
            if kind == "chat.done" and parts is not None and "".join(parts) != event["text"]:
                where = f"{event['session_key']} {message_id}"
                self.broken(f"{where}: the deltas are {''.join(parts)!r}, the answer {event['text']!r}")
            following.turns.discard(message_id)
            following.patchy = following.patchy and following.reads
            following.ended.add(message_id)
