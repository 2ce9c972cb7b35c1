"""The bytes of a streamed Chat Completions answer, put together. Pure: no socket, no clock, no await.

Above it `openai_client.py`, which feeds it what the network gives, in whatever pieces; below it nothing.
It knows the wire format (Server-Sent Events by WHATWG HTML 9.2; chunks by the Chat Completions reference) and
the habits of servers that only nearly speak it. It refuses to know what a person is told: failures are
`StreamBroken` with a kind.

Text is handed to `on_delta` as it is read, synchronously; any cutting of the bytes gives the same calls of
`on_delta`, because only whole lines are looked at.
"""

import codecs
from collections.abc import Callable

import orjson

from agent.llm.stream_calls import CallAssembler
from agent.llm.stream_document import Document
from agent.llm.stream_json import Surrogates, loose, spoken, thought
from agent.llm.stream_limits import (
    FAILED_FINISH,
    FINISH,
    MAX_GARBAGE_LINES,
    MAX_HELD_BYTES,
    MAX_LINE_BYTES,
    MAX_PIECE_CHARS,
    MAX_STREAM_BYTES,
    MAX_TEXT_CHARS,
    MAX_THOUGHTS,
    Assembled,
    StreamBroken,
)  # fmt: skip
from agent.llm.stream_template import Template
from bus.events import JsonObject


class ReplyStream:
    """Takes bytes, gives text at once and the whole at the end. `done` says that nothing more is needed."""

    __slots__ = (
        "_bytes", "_calls", "_chars", "_finish", "_garbage", "_held", "_line_bytes", "_max_bytes", "_max_chars",
        "_model", "_on_delta", "_parts", "_pieces", "_surrogates", "_template", "_thoughts", "_unknown", "_whole",
        "done", "events", "usage",
    )  # fmt: skip

    def __init__(
        self, on_delta: Callable[[str], None], *, max_chars: int = MAX_TEXT_CHARS, max_bytes: int = MAX_STREAM_BYTES
    ) -> None:
        self._on_delta = on_delta
        self._max_chars = max_chars
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []  # of a line that has not ended yet
        self._line_bytes = 0
        self._held = b""  # data lines of one event that are no JSON so far
        self._whole: Document | None = None  # a body that is no event stream
        self._unknown = True  # nothing but white space so far
        self._bytes = 0
        self._chars = 0
        self._garbage = 0
        self._parts: list[str] = []
        self._surrogates = Surrogates()
        self._template = Template()
        self._calls = CallAssembler()
        self._finish: str | None = None
        self.usage: JsonObject = {}
        """The provider's own count, once it came."""
        self._thoughts: list[str] = []  # paid for, shown to nobody
        self._model = ""
        self.done = False
        self.events = 0
        """Events that carried something of the answer: a reader sees progress by it."""

    @property
    def text(self) -> str:
        """What was handed to `on_delta` so far."""
        return "".join(self._parts)

    @property
    def written(self) -> str:
        """All that the model wrote: text, calls, and what it only thought."""
        return "".join((*self._thoughts, *self._parts, self._calls.written))

    @property
    def begun(self) -> bool:
        """Whether anything was handed to `on_delta`."""
        return bool(self._parts)

    @property
    def ended(self) -> bool:
        """Whether the reason for the end is known: what may still come is the usage."""
        return self._finish is not None

    def feed(self, data: bytes) -> None:
        """Take what one network read gave. Raises StreamBroken; sets `done` when the rest is not needed."""
        if self.done:
            return
        self._bytes += len(data)
        if self._unknown:
            if not (data := data.lstrip()):
                return
            self._unknown = False
            if data[:1] in (b"{", b"<"):
                self._whole = Document()
        if self._whole is not None:
            self._whole.add(data)
            return
        if self._bytes > self._max_bytes:
            self._stop("length")
            return
        lines = data.split(b"\n")
        tail = lines.pop()
        if self._pieces and lines:
            self._pieces.append(lines[0])
            lines[0] = b"".join(self._pieces)
            self._pieces.clear()
            self._line_bytes = 0
        for line in lines:
            if line:
                self._line(line)
                if self.done:
                    return
            elif self._held:
                self._spoiled()
        if tail:
            self._pieces.append(tail)
            self._line_bytes += len(tail)
            if self._line_bytes > MAX_LINE_BYTES:
                self._stop("length") if self.begun else self._fail("garbage", "an endless line")

    def finish(self) -> Assembled:
        """The connection has ended: the whole answer. Raises StreamBroken `truncated` where it is not whole."""
        if not self.done:
            if self._whole is not None:
                self._event(self._whole.chunk())
            elif self._pieces:
                self._line(b"".join(self._pieces))
                self._pieces.clear()
        self._emit(self._surrogates.rest())
        if self._finish is None:
            kind = "truncated" if self.events or not (self._garbage or self._held) else "garbage"
            raise StreamBroken(kind)
        calls = () if self._finish in ("length", "content_filter") else self._calls.calls()
        reason = self._finish
        if reason == "tool_calls" and not calls:
            reason = "stop"
        elif reason == "stop" and calls:
            reason = "tool_calls"  # servers that say `stop` after tool calls
        return Assembled(self.text, reason, calls, self.usage, self._model)

    # ------------------------------------------------------------ lines

    def _line(self, line: bytes) -> None:
        text = self._template.text(line)
        if (
            text
            and not self._surrogates
            and len(text) <= MAX_PIECE_CHARS
            and self._chars + len(text) <= self._max_chars
        ):
            self.events += 1
            self._chars += len(text)
            self._parts.append(text)
            self._held = b""
            self._on_delta(text)
            return
        if line[:5] != b"data:":
            self._other_line(line)
            return
        try:
            event = orjson.loads(line[5:])
            # The plain case first: a piece of text and nothing else.
            choice = event["choices"][0]
            delta = choice["delta"]
            text = delta["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            self._uncommon(line[5:].strip())
            return
        if (
            text.__class__ is str
            and choice.get("finish_reason") is None
            and "tool_calls" not in delta
            and not event.get("usage")
            and "error" not in event
            and not choice.get("index")
            and len(text) <= MAX_PIECE_CHARS
            and self._chars + len(text) <= self._max_chars
            and not self._surrogates
        ):
            self.events += 1
            if text:
                self._chars += len(text)
                self._parts.append(text)
                self._template.learn(line, event, text)
                self._on_delta(text)
            self._held = b""
            return
        self._held = b""
        self._event(event)

    def _other_line(self, line: bytes) -> None:
        if line[:3] == codecs.BOM_UTF8:
            self._line(line[3:])
            return
        name = line.rstrip(b"\r").partition(b":")[0].strip()
        if line[:1] == b":" or name in (b"event", b"id", b"retry", b""):
            if not name and self._held and line == b"\r":
                self._spoiled()
            return
        self._spoiled()

    def _uncommon(self, payload: bytes) -> None:
        if payload == b"[DONE]":
            self._held = b""
            # Some proxies send the marker after a cut: without a reason it is no end.
            self.done = self._finish is not None
            return
        joined = self._held + b"\n" + payload if self._held else payload
        for text in (payload, joined):
            try:
                event = loose(text)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._held = b""
                self._event(event)
                return
        if len(joined) > MAX_HELD_BYTES:
            self._spoiled()
        else:
            self._held = joined  # perhaps an event over several data lines

    def _spoiled(self) -> None:
        """A line that says nothing: counted, since a server that sends only such lines has to be left."""
        self._held = b""
        self._garbage += 1
        if self._garbage > MAX_GARBAGE_LINES:
            self._fail("garbage", "lines that are no events")

    # ------------------------------------------------------------ events

    def _event(self, event: JsonObject) -> None:
        error = event.get("error")
        if error:
            self.done = True
            raise StreamBroken.by_server(error)
        model = event.get("model")
        if isinstance(model, str):
            self._model = model
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                self._choice(choice)
                if self.done:
                    return

    def _choice(self, choice: JsonObject) -> None:
        self.events += 1
        if isinstance(usage := choice.get("usage"), dict):
            self.usage = usage  # Moonshot
        # A whole message behind deltas is all of them once more (MiniMax).
        delta = choice.get("delta", choice.get("message") if self.events == 1 else None)
        if isinstance(delta, dict):
            for text in spoken(delta):
                self._emit(self._surrogates.join(text))
                if self.done:
                    return
            if (thoughts := thought(delta)) and len(self._thoughts) < MAX_THOUGHTS:
                self._thoughts.append(thoughts)
            calls = delta.get("tool_calls")
            for fragment in calls if isinstance(calls, list) else ():
                if isinstance(fragment, dict):
                    self._calls.add(fragment)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in FAILED_FINISH:
                self._fail("error", reason)
            self._finish = FINISH.get(reason.lower(), "stop")

    def _emit(self, text: str) -> None:
        room = self._max_chars - self._chars
        for at in range(0, min(len(text), room), MAX_PIECE_CHARS):
            piece = text[at : min(at + MAX_PIECE_CHARS, room)]
            self._chars += len(piece)
            self._parts.append(piece)
            self._on_delta(piece)
        if len(text) > room:
            self._stop("length")

    def _stop(self, reason: str) -> None:
        self._finish = reason
        self.done = True
        self._pieces.clear()

    def _fail(self, kind: str, detail: str = "") -> None:
        self.done = True
        self._pieces.clear()
        raise StreamBroken(kind, detail)
