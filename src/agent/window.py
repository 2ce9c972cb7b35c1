"""The history that a model is given: records of the log in, Chat Completions messages out.

Pure. A `Window` is fed each record in order, by the lane as it writes them or from
the log when a session wakes up, so that a warm session never reads its file. It is
cut in halves and at whole turns, so that the prefix stays the same for many turns
and a provider's cache hits; a tool call and its result are never parted.

Above it is `lane.py`; it knows neither the store nor the model.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.llm.tokens import estimate_message
from agent.ports.sessions import Record
from agent.sessions import records as kinds
from agent.tools.results import text_of
from bus.events import JsonObject, MediaRef

RELEVANT = frozenset(
    {kinds.MESSAGE, kinds.TOOL_STARTED, kinds.TOOL_FINISHED, kinds.DONE, kinds.ERROR, kinds.UPDATED, kinds.SUMMARY},
)


@dataclass(slots=True)
class _Entry:
    """One turn: the person's message and what followed from it."""

    message_id: str
    seq: int
    messages: list[JsonObject] = field(default_factory=list)
    waiting: dict[str, JsonObject] = field(default_factory=dict)
    """The assistant message of the round whose results are still missing, by call id."""
    tokens: int = 0
    ended: bool = False
    hidden: bool = False
    """It waited or was answered when an edit or `/new` came: from then on only its own turn sees it."""
    numbers: list[int] = field(default_factory=list)
    """Of the records behind `messages`, one for each."""
    files: dict[str, list[MediaRef]] = field(default_factory=dict)
    """What came along with the messages, by message."""
    said: dict[str, JsonObject] = field(default_factory=dict)
    """The person's messages that the turn answers, by id: its own one and those that joined it."""


class Window:
    """The last turns of one session as messages, bounded by `max_messages` and `max_tokens`."""

    __slots__ = ("_entries", "_max_messages", "_max_tokens", "covered", "group", "summary")

    def __init__(self, max_messages: int, max_tokens: int, *, group: bool = False) -> None:
        self._max_messages = max_messages
        self._max_tokens = max_tokens
        self._entries: list[_Entry] = []
        self.covered = 0
        """The last number this window knows of."""
        self.group = group
        self.summary = ""
        """What came before the entries, told in short."""

    def apply(self, record: Record) -> None:
        """Take in the next record. Numbers that were taken in already change nothing."""
        if record.seq <= self.covered:
            return
        self.covered = record.seq
        data = record.data
        match record.type:
            case kinds.MESSAGE:
                self._message(record.seq, data)
            case kinds.TOOL_STARTED if data.get("round") and not data.get("agent"):
                self._round(data["message_id"], data["round"])
            case kinds.TOOL_FINISHED if not data.get("agent"):
                self._result(data["message_id"], data)
            case kinds.DONE if data.get("into"):
                self._merged(data["message_id"], data["into"])
            case kinds.DONE:
                self._end(data["message_id"], data.get("last_text") or data.get("text") or "")
            case kinds.ERROR:
                self._end(data["message_id"], data.get("partial") or "")
            case kinds.UPDATED if data.get("deleted"):
                self._entries.clear()
                self.summary = ""
            case kinds.UPDATED if data.get("reset"):
                self._hide(0)
                self.summary = ""
            case kinds.SUMMARY:
                self.summary = data["text"]
                self._entries = [entry for entry in self._entries if entry.seq > data["upto"]]

    def apply_all(self, records: Iterable[Record]) -> None:
        """Take in many."""
        for record in records:
            self.apply(record)

    def _find(self, message_id: str) -> _Entry | None:
        for entry in reversed(self._entries):
            if entry.message_id == message_id:
                return entry
        return None

    def join(self, message_id: str, into: str) -> None:
        """From here on the turn `into` answers this message too: it stands behind the rounds that did not know it."""
        entry, turn = self._find(message_id), self._find(into)
        if entry is None or turn is None:
            return
        place = len(turn.messages)
        if turn.waiting:  # a crash left a round without its results: they come behind it, and nothing in between
            asking = next(iter(turn.waiting.values()))
            place = next(at for at, message in enumerate(turn.messages) if message is asking)
        self._join(entry, turn, place)

    def _join(self, entry: _Entry, turn: _Entry, place: int) -> None:
        self._entries.remove(entry)
        turn.messages[place:place] = entry.messages
        turn.numbers[place:place] = entry.numbers
        turn.tokens += entry.tokens
        turn.files |= entry.files
        turn.said |= entry.said

    def _merged(self, message_id: str, into: str) -> None:
        """A message had another's turn. Read from the log, it joins that now, before what was said to both.

        Without that turn, whose answer isn't held either, it is left out.
        """
        entry, turn = self._find(message_id), self._find(into)
        if entry is None:
            return
        if turn is None or entry.hidden or turn.hidden:
            self._entries.remove(entry)
            return
        said = enumerate(zip(turn.messages, turn.numbers, strict=True))
        later = (at for at, (one, number) in said if one["role"] == "assistant" and number > entry.seq)
        self._join(entry, turn, next(later, len(turn.messages)))

    def _message(self, seq: int, data: JsonObject) -> None:
        replaced = data.get("replaces")
        if replaced:
            for index, entry in enumerate(self._entries):
                if replaced in entry.said:
                    if replaced != entry.message_id:  # what it had joined was said before, and stays
                        self._take_back(entry, replaced)
                        index += 1
                    self._hide(index)
                    break
        if data.get("command"):
            return
        text = data.get("text") or ""
        if self.group:
            text = f"[{data.get('actor', {}).get('user', '')}] {text}"
        entry = _Entry(data["message_id"], seq)
        files = [_ref(one) for one in data.get("media") or ()]
        if files:
            entry.files[entry.message_id] = files
        names = [f"[file {f.name}, {f.mime}, {f.size} bytes] (attachment {f.media_id})" for f in files]
        text = "\n".join(part for part in (text, *names) if part)
        self._add(entry, {"role": "user", "content": text})
        entry.said[entry.message_id] = entry.messages[0]
        entry.ended = not data.get("wants_reply", True)
        self._entries.append(entry)
        self._cut()

    def _hide(self, first: int) -> None:
        """Forget what was said from there on; what is still to be answered keeps what its turn needs until it ends."""
        self._entries[first:] = [entry for entry in self._entries[first:] if not entry.ended]
        for entry in self._entries[first:]:
            entry.hidden = True

    @staticmethod
    def _take_back(entry: _Entry, message_id: str) -> None:
        """Forget a message that joined the turn, and all that came in it behind that."""
        place = next(at for at, message in enumerate(entry.messages) if message is entry.said[message_id])
        del entry.messages[place:], entry.numbers[place:]
        entry.waiting = {}
        entry.tokens = sum(map(estimate_message, entry.messages))
        entry.said = {one: said for one, said in entry.said.items() if any(said is m for m in entry.messages)}
        entry.files = {one: refs for one, refs in entry.files.items() if one in entry.said}

    def _add(self, entry: _Entry, message: JsonObject) -> None:
        entry.messages.append(message)
        entry.numbers.append(self.covered)
        entry.tokens += estimate_message(message)

    def _round(self, message_id: str, step: JsonObject) -> None:
        entry = self._find(message_id)
        if entry is None:
            return
        calls = [
            {"id": c["call_id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in step["calls"]
        ]
        message: JsonObject = {"role": "assistant", "content": step.get("text") or None, "tool_calls": calls}
        entry.waiting = {c["call_id"]: message for c in step["calls"]}
        self._add(entry, message)

    def _result(self, message_id: str, data: JsonObject) -> None:
        entry = self._find(message_id)
        if entry is None or entry.waiting.pop(data["call_id"], None) is None:
            return
        self._add(entry, {"role": "tool", "tool_call_id": data["call_id"], "content": result_text(data)})

    def _end(self, message_id: str, text: str) -> None:
        entry = self._find(message_id)
        if entry is None or entry.ended:
            return
        self._settle(entry)
        if text:
            self._add(entry, {"role": "assistant", "content": text})
        entry.ended = True
        if entry.hidden:
            self._entries.remove(entry)
        self._cut()

    def _settle(self, entry: _Entry) -> None:
        """A round that was broken off: its calls get a result each, so that the pairs are whole."""
        for call_id in entry.waiting:
            self._add(entry, {"role": "tool", "tool_call_id": call_id, "content": "cancelled: no result"})
        entry.waiting = {}

    def _cut(self) -> None:
        """Over the bounds: forget the older turns, down to half of them."""
        count = sum(len(entry.messages) for entry in self._entries)
        tokens = sum(entry.tokens for entry in self._entries)
        if count <= self._max_messages and tokens <= self._max_tokens:
            return
        while len(self._entries) > 1 and (count > self._max_messages // 2 or tokens > self._max_tokens // 2):
            if not self._entries[0].ended:
                return
            gone = self._entries.pop(0)
            count -= len(gone.messages)
            tokens -= gone.tokens

    def holds(self, message_id: str) -> bool:
        """Whether this message is in the window."""
        return self.said(message_id) is not None

    def reaches(self, seq: int) -> bool:
        """Whether the message with this number is (still) in the window."""
        return any(entry.seq == seq for entry in self._entries)

    def messages(self, until: str, also: Collection[str] = ()) -> list[JsonObject]:
        """What came before and with the message `until`; of the messages queued behind it only those in `also`."""
        out: list[JsonObject] = []
        if self.summary:
            out.append({"role": "system", "content": f"What was said before, in short:\n{self.summary}"})
        reached = False
        for entry in self._entries:
            mine = entry.message_id == until or entry.message_id in also
            if mine or not (reached or entry.hidden):
                out += entry.messages
            reached = reached or entry.message_id == until
        return out

    def to_summarise(self, share: float) -> tuple[list[JsonObject], int]:
        """The older half, once `share` of a bound is reached: its messages, and the number up to which they go.

        Whole turns only, so that a call and its result stay together. Nothing below the share, or while a turn runs.
        """
        count = sum(len(entry.messages) for entry in self._entries)
        if count < share * self._max_messages and self.size < share * self._max_tokens:
            return [], 0
        old: list[_Entry] = []
        taken = 0
        for entry in self._entries[:-1]:
            if not entry.ended or taken >= count / 2:
                break
            old.append(entry)
            taken += len(entry.messages)
        if not old:
            return [], 0
        before = [{"role": "system", "content": self.summary}] if self.summary else []
        return before + [message for entry in old for message in entry.messages], old[-1].seq

    def said(self, message_id: str) -> JsonObject | None:
        """The person's message itself, the very object that `messages` gives."""
        return next((entry.said[message_id] for entry in self._entries if message_id in entry.said), None)

    @property
    def files(self) -> dict[str, MediaRef]:
        """What came along with the messages that are held, by handle."""
        return {ref.media_id: ref for entry in self._entries for refs in entry.files.values() for ref in refs}

    @property
    def turns(self) -> int:
        """How many of the person's messages are held."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """Tokens held, as estimated."""
        return sum(entry.tokens for entry in self._entries)


def _ref(data: JsonObject) -> MediaRef:
    return MediaRef(media_id=data["media_id"], mime=data["mime"], name=data["name"], size=data["size"])


def result_text(data: JsonObject) -> str:
    """A recorded result as the text that a model reads: as it was given to it, else made again from the content."""
    said = data.get("text")
    return said if said is not None else text_of(data.get("content") or (), data.get("structured_content"))
