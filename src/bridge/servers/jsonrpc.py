"""JSON-RPC 2.0 as a client of MCP servers needs it: sans-I/O, payloads as they came.

Above it `session.py`, below it nothing. A line from a server becomes effects; a result is kept as the bytes the
server wrote, checked to be JSON (a large one by whoever reads it) and otherwise untouched. Ids are integers minted
here and compared with their type; an answer to an id that isn't waiting (late, forged, twice) is `Stray` and resolves
nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from bridge.errors import ToolResultInvalid
from bridge.servers.surrogates import is_text, whole_characters

JsonObject: TypeAlias = dict[str, Any]


class Reply:
    """A result. `raw` is its JSON as the server wrote it, or None where that isn't at hand.

    That of a large one is looked at when somebody asks for its `value`: reading 20 MB holds everybody up, and whoever
    only passes it on need not. Where it is `unread`, it may still turn out to be no JSON.
    """

    __slots__ = ("_value", "raw")

    def __init__(self, value: JsonObject | None, raw: bytes | None = None) -> None:
        self._value = value
        self.raw = raw

    @property
    def unread(self) -> bool:
        return self._value is None

    @property
    def value(self) -> JsonObject:
        """The result itself. Raises ToolResultInvalid where it was unread and is no JSON object."""
        if self._value is None:
            try:
                value = orjson.loads(self.raw or b"")
            except orjson.JSONDecodeError as error:
                raise ToolResultInvalid(f"the answer is not valid JSON: {error}", effect="done") from None
            if not isinstance(value, dict):
                raise ToolResultInvalid("the result is not an object", effect="done")
            self._value = value
        return self._value

    def json(self) -> bytes:
        """The result's JSON text, UTF-8."""
        return self.raw if self.raw is not None else orjson.dumps(self.value)


@dataclass(frozen=True, slots=True)
class Answered:
    id: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """The server's own JSON-RPC error."""

    id: int
    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """An answer to a waiting id that is no valid answer."""

    id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the server's."""

    id: int | str
    method: str
    params: JsonObject


@dataclass(frozen=True, slots=True)
class Notified:
    method: str
    params: JsonObject


@dataclass(frozen=True, slots=True)
class Stray:
    """An answer nobody waits for."""

    id: Any


@dataclass(frozen=True, slots=True)
class Noise:
    """Something that is no JSON-RPC."""

    reason: str


Effect: TypeAlias = Answered | Refused | Invalid | Asked | Notified | Stray | Noise

_ID_FIRST = re.compile(rb'\{"jsonrpc":"2\.0","id":(\d{1,18}),"result":')
_ID_LAST = re.compile(rb',"jsonrpc":"2\.0","id":(\d{1,18})\}$')
_RESULT_FIRST = b'{"result":'
_ANY_ID = re.compile(rb'"id"\s*:\s*(\d{1,18})\s*[,}]')
_MAX_BATCH = 1000
LARGE = 1_000_000
"""A result of so many bytes is not read where it is only passed on."""


class Peer:
    """The ids in flight, and what a message means. Not thread-safe; owned by one session."""

    def __init__(self) -> None:
        self._next = 1
        self._waiting: set[int] = set()
        self._listings: set[int] = set()

    @property
    def waiting(self) -> frozenset[int]:
        return frozenset(self._waiting)

    def mint(self, *, listing: bool = False) -> int:
        """A new id, which waits for its answer from now on; that to a `listing` is read even where it is no JSON."""
        number = self._next
        self._next += 1
        self._waiting.add(number)
        if listing:
            self._listings.add(number)
        return number

    def forget(self, number: int) -> None:
        """Stop waiting: what comes later is `Stray`."""
        self._waiting.discard(number)
        self._listings.discard(number)

    def receive(self, line: bytes) -> Sequence[Effect]:
        """What one line of the server's output means."""
        quick = self._quick(line)
        if quick is not None:
            return (quick,)
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            whole = whole_characters(line)
            return (self._broken(line, str(error)),) if whole == line else self.receive(whole)
        return self.message(message)

    def message(self, message: Any) -> Sequence[Effect]:
        """What one decoded message means; a batch of the 2025-03-26 protocol is several."""
        if isinstance(message, list):
            if not message or len(message) > _MAX_BATCH:
                return (Noise("an empty or endless batch"),)
            return tuple(self._one(part) for part in message)
        return (self._one(message),)

    def too_long(self, start: bytes, end: bytes, size: int) -> Sequence[Effect]:
        """What a line above the cap means, of which only its `start` and `end` were kept.

        The call it answers fails. Where its id can't be read, every call that waits fails: one of them was meant.
        """
        number = self._id_in(start, end)
        reason = f"the answer is too large ({size} bytes in one line)"
        meant = [number] if number in self._waiting and number is not None else sorted(self._waiting)
        self._waiting.difference_update(meant)
        return tuple(Invalid(one, reason) for one in meant) or (Noise(reason),)

    def _quick(self, line: bytes) -> Effect | None:
        """A result in one of the two forms the SDKs write: only the result itself is parsed, and kept as bytes."""
        if match := _ID_FIRST.match(line):
            body = line[match.end() : -1]
        elif line.startswith(_RESULT_FIRST) and (match := _ID_LAST.search(line, max(0, len(line) - 48))):
            body = line[len(_RESULT_FIRST) : match.start()]
        else:
            return None
        number = int(match[1])
        if number not in self._waiting or not line.endswith(b"}"):
            return None
        large = len(body) >= LARGE and number not in self._listings
        if large and body.startswith(b"{") and body.endswith(b"}") and is_text(body):
            self._waiting.discard(number)
            return Answered(number, Reply(None, whole_characters(body)))
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None  # other members beside the result, or no JSON at all: the slow way finds out
        return self._result(number, value, body)

    def _result(self, number: int, value: Any, raw: bytes | None) -> Effect:
        self._waiting.discard(number)
        if not isinstance(value, dict):
            return Invalid(number, "the result is not an object")
        return Answered(number, Reply(value, raw))

    def _one(self, message: Any) -> Effect:
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            return Noise("not a JSON-RPC 2.0 message")
        method = message.get("method")
        if method is not None:
            return self._from_server(message, method)
        number = message.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or number not in self._waiting:
            return Stray(number)
        if ("result" in message) == ("error" in message):
            self._waiting.discard(number)
            return Invalid(number, "an answer needs either a result or an error")
        if "result" in message:
            return self._result(number, message["result"], None)
        return self._error(number, message["error"])

    def _error(self, number: int, error: Any) -> Effect:
        self._waiting.discard(number)
        code = error.get("code") if isinstance(error, dict) else None
        text = error.get("message") if isinstance(error, dict) else None
        if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str):
            return Invalid(number, "the error is not a JSON-RPC error")
        return Refused(number, code, text, error.get("data"))

    def _from_server(self, message: Mapping[str, Any], method: Any) -> Effect:
        params = message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict | None):
            return Noise("a request or notification without a proper method and params")
        if "id" not in message:
            return Notified(method, params or {})
        number = message["id"]
        if isinstance(number, bool) or not isinstance(number, int | str):
            return Noise("a request with an illegal id")
        return Asked(number, method, params or {})

    def _broken(self, line: bytes, reason: str) -> Effect:
        """No JSON: an answer with `NaN`, half a line, or a library that prints to stdout."""
        if b'"jsonrpc"' not in line:
            return Noise("not JSON")
        number = self._id_in(line[:4096], line[-64:])
        if self._listings or (number is None and len(line) < 1_000_000):
            try:  # takes NaN and huge numbers, which orjson refuses
                message = json.loads(line.decode(errors="replace"))
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict) and isinstance(number := message.get("id"), int) and number in self._listings:
                return self._one(message)  # one bad entry is no reason to lose the others
        if isinstance(number, int) and number in self._waiting:
            self._waiting.discard(number)
            return Invalid(number, f"the answer is not valid JSON: {reason}")
        return Noise("not JSON")

    def _id_in(self, start: bytes, end: bytes) -> int | None:
        """The id in the places where SDKs write it: before the result or error, or at the very end."""
        head = re.split(rb'"(?:result|error)"', start, maxsplit=1)[0]
        if (match := _ANY_ID.search(head)) or (match := _ID_LAST.search(end)):
            return int(match[1])
        return None


def encode(message: JsonObject) -> bytes:
    """One line without its newline. Raises ValueError for what JSON can't carry."""
    try:
        return orjson.dumps(message)
    except TypeError as error:  # orjson's own JSONEncodeError: lone surrogates, integers above 64 bit, NaN keys
        try:
            return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError):
            raise ValueError(f"not JSON: {error}") from None


def request(number: int, method: str, params: JsonObject) -> JsonObject:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, params: JsonObject | None = None) -> JsonObject:
    return {"jsonrpc": "2.0", "method": method} if params is None else {
        "jsonrpc": "2.0", "method": method, "params": params,
    }  # fmt: skip


def answer(number: int | str, result: JsonObject) -> JsonObject:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def refusal(number: int | str, code: int, message: str) -> JsonObject:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
