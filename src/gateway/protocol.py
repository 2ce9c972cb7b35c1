"""JSON-RPC 2.0 without a socket: text in, requests or refusals out; results and errors to bytes.

Above it are `connection.py` (one `Peer` per socket) and `http/rpc.py`; below it only the
error classes. This is the one table from errors to their JSON-RPC and HTTP form. It knows
no method, no user and no clock. Rules: https://www.jsonrpc.org/specification

Stricter than most: `NaN`, a byte order mark, numbers no double can hold and endless nesting
are parse errors; an id is a string, an integer or null. An unpaired surrogate is valid JSON
that no storage can hold, so it is refused as a parameter (-32602), with the id given back.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from bus.context import current_trace_id
from bus.errors import BadParameters, GatewayError, ToolResultInvalid, Unsignable
from bus.events import JsonObject
from bus.json_integers import loads_exactly
from gateway.json_text import UNWRITABLE, dumps

Id: TypeAlias = str | int | None

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

MAX_BATCH = 50
MAX_ID_CHARS = 256
MAX_DEPTH = 100
PARSE_ERRORS_IN_A_ROW = 10
CLOSE_TOO_MANY_ERRORS = 4029

HTTP_STATUS: dict[int, int] = {
    PARSE_ERROR: 400, INVALID_REQUEST: 400, METHOD_NOT_FOUND: 404, INVALID_PARAMS: 400, INTERNAL_ERROR: 500,
    1000: 400, 1001: 401, 1002: 403, 1003: 404, 1004: 408, 1005: 429, 1006: 413, 1007: 503, 1008: 409,
    1009: 499, 1010: 410,
    2000: 401, 2001: 401, 2003: 504, 2004: 403, 2005: 502, 2006: 502, 2007: 428, 2008: 503,
    3001: 409, 3002: 409, 3003: 404,
}  # fmt: skip


class RpcError(Exception):
    """An error of the envelope, with JSON-RPC's own negative code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """A request, or (with `wants_reply` false) a notification."""

    method: str
    params: JsonObject | list[Any]
    id: Id
    wants_reply: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that is not a request, and the error to answer it with. `id` is None where it had no legal one."""

    id: Id
    error: RpcError
    wants_reply: bool = True


Entry: TypeAlias = Request | Refusal


@dataclass(frozen=True, slots=True)
class Incoming:
    """What one text held. `close` is a WebSocket code to close with after the answer."""

    entries: tuple[Entry, ...]
    batch: bool = False
    close: int | None = None


@dataclass(slots=True)
class Peer:
    """One end of a connection: which ids are under way, and how often in a row it sent garbage."""

    _in_flight: set[Id] = field(default_factory=set)
    _failures: int = 0

    def receive(self, text: str | bytes) -> Incoming:
        """Take one text apart. Never raises; each non-null id of a returned Request is now in flight."""
        try:
            document, poisoned = decode(text)
        except RpcError as error:
            self._failures += 1
            close = CLOSE_TOO_MANY_ERRORS if self._failures >= PARSE_ERRORS_IN_A_ROW else None
            return Incoming((Refusal(None, error),), close=close)
        self._failures = 0
        if not isinstance(document, list):
            return Incoming((self._entry(document, poisoned),))
        if not document:
            return Incoming((Refusal(None, RpcError(INVALID_REQUEST, "an empty batch")),))
        if len(document) > MAX_BATCH:
            return Incoming((Refusal(None, RpcError(INVALID_REQUEST, f"a batch has at most {MAX_BATCH} entries")),))
        return Incoming(tuple(self._entry(item, poisoned) for item in document), batch=True)

    def finished(self, request_id: Id) -> None:
        """The request of this id was answered; the id may be used again."""
        self._in_flight.discard(request_id)

    def _entry(self, item: Any, poisoned: bool) -> Entry:
        entry = parse_entry(item, poisoned=poisoned)
        if isinstance(entry, Refusal) or not entry.wants_reply or entry.id is None:
            return entry
        if entry.id in self._in_flight:
            return Refusal(entry.id, RpcError(INVALID_REQUEST, "this id is under way already"))
        self._in_flight.add(entry.id)
        return entry


def decode(text: str | bytes) -> tuple[Any, bool]:
    """The JSON value of `text`, and whether it holds an unpaired surrogate. Raises RpcError (-32700)."""
    try:
        calls = ("tools.call" in text) if isinstance(text, str) else (b"tools.call" in text)
        return (loads_exactly(text) if calls else orjson.loads(text)), False
    except ValueError:
        pass
    try:
        found = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "not valid JSON") from error
    if has_surrogate(found):
        return found, True
    raise RpcError(PARSE_ERROR, "not valid JSON")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def _walk(value: Any) -> Iterable[tuple[Any, int]]:
    """Every value inside `value` with its depth, without recursion."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        yield item, depth
        if isinstance(item, dict):
            stack.extend((key, depth) for key in item)
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)


def has_surrogate(value: Any) -> bool:
    """Whether a string anywhere in `value` cannot be written as UTF-8."""
    return any(isinstance(item, str) and _unwritable(item) for item, _ in _walk(value))


def _unwritable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def too_deep(value: Any) -> bool:
    """Whether `value`, which was JSON, nests deeper than MAX_DEPTH. Level by level: most params have one or two."""
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(MAX_DEPTH - 1):
        if not level:
            return False
        deeper = []
        for item in level:
            for child in item.values() if type(item) is dict else item:
                if type(child) is dict or type(child) is list:
                    deeper.append(child)
        level = deeper
    return any(level)


def parse_entry(item: Any, *, poisoned: bool = False) -> Entry:
    """One request object, checked as the specification says, or the refusal to answer it with."""
    if not isinstance(item, dict):
        return Refusal(None, RpcError(INVALID_REQUEST, "a request is an object"))
    present = "id" in item
    request_id = item.get("id")
    if not legal_id(request_id):
        return Refusal(None, RpcError(INVALID_REQUEST, "an id is a string of at most 256 characters or an integer"))
    problem = _envelope_problem(item)
    if problem:
        return Refusal(request_id, RpcError(INVALID_REQUEST, problem))
    params = item.get("params", {})
    if poisoned and has_surrogate(params):
        return Refusal(request_id, RpcError(INVALID_PARAMS, "text with an unpaired surrogate"), wants_reply=present)
    if too_deep(params):
        return Refusal(request_id, RpcError(INVALID_PARAMS, "nested too deeply"), wants_reply=present)
    return Request(item["method"], params, request_id, wants_reply=present)


def legal_id(value: Any) -> bool:
    """A string of moderate length, an integer, or null; neither a boolean nor a fraction."""
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS and not _unwritable(value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _envelope_problem(item: JsonObject) -> str:
    if item.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    method = item.get("method")
    if not isinstance(method, str) or not method or _unwritable(method):
        return "method must be a name"
    if not isinstance(item.get("params", {}), dict | list):
        return "params must be an object or an array"
    return ""


# ---------------------------------------------------------------- out


def response_bytes(response: JsonObject | list[JsonObject]) -> bytes:
    """A response or a batch of them as JSON. A result that can't be written becomes an error: everyone is answered."""
    try:
        return dumps(response)
    except UNWRITABLE:
        if isinstance(response, list):
            return b"[" + b",".join(map(response_bytes, response)) + b"]"
        return dumps(unwritable(response))


def unwritable(response: JsonObject) -> JsonObject:
    """What is said instead of a response that `dumps` refuses."""
    return failure(response.get("id"), ToolResultInvalid("the result is no JSON, or nested too deeply"))


def result(request_id: Id, value: Any) -> JsonObject:
    """A response that carries a result."""
    return {"jsonrpc": "2.0", "id": request_id, "result": value}


def failure(request_id: Id, error: BaseException) -> JsonObject:
    """A response that carries an error."""
    return {"jsonrpc": "2.0", "id": request_id, "error": error_object(error)}


def error_object(error: BaseException) -> JsonObject:
    """The `error` member of a response: code, message, data."""
    code, message = code_of(error), message_of(error)
    if code == BadParameters.code and not isinstance(error, Unsignable):
        code = INVALID_PARAMS
    data: JsonObject = {"retryable": _retryable(error)}
    if isinstance(error, GatewayError) and error.retry_after_ms is not None:
        data["retry_after_ms"] = error.retry_after_ms
    data["trace_id"] = current_trace_id()
    return {"code": code, "message": message, "data": data}


def http_error(error: BaseException) -> tuple[int, JsonObject]:
    """Status and body of an error outside JSON-RPC."""
    body: JsonObject = {
        "code": code_of(error), "message": message_of(error), "retryable": _retryable(error),
        "trace_id": current_trace_id(),
    }  # fmt: skip
    if isinstance(error, GatewayError) and error.retry_after_ms is not None:
        body["retry_after_ms"] = error.retry_after_ms
    return HTTP_STATUS.get(body["code"], 500), {"error": body}


def code_of(error: BaseException) -> int:
    """The public code; -32603 for what nobody foresaw."""
    if isinstance(error, GatewayError | RpcError):
        return error.code
    return INTERNAL_ERROR


def message_of(error: BaseException) -> str:
    """What people may read. Nothing of an unforeseen error gets out: no path, no stack."""
    if isinstance(error, GatewayError | RpcError):
        return error.message
    return "internal error"


def _retryable(error: BaseException) -> bool:
    return isinstance(error, GatewayError) and error.retryable
