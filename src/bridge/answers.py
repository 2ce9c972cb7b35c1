"""Answers to calls as they are kept and sent, and what of a request goes on to its server.

Pure. An answer is the JSON text of a payload, so that a large one is written once and never read again here.
"""

import orjson

from bridge.errors import BridgeError, McpError, ToolResultInvalid
from bridge.ports import JsonObject, Relayed
from bridge.protocol.bridge_effects import Requested
from bridge.protocol.frames import error_payload
from bridge.protocol.outbox import Answer


def response(call_id: str, member: str, value: JsonObject, longest: int) -> Answer:
    """A JSON-RPC response with `result` or `error`. Raises ToolResultInvalid beyond `longest` bytes."""
    return raw_response(call_id, member, value.raw if isinstance(value, Relayed) else plain(value), longest)


def plain(value: JsonObject) -> bytes:
    """Its JSON. Raises ToolResultInvalid."""
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ToolResultInvalid("the result is no plain JSON", effect="done") from error


def raw_response(call_id: str, member: str, body: bytes, longest: int) -> Answer:
    """The same around JSON that is at hand."""
    if len(body) > longest:
        raise ToolResultInvalid("the result is too large", effect="done")
    return Answer("MCP_RESPONSE", b'%s"%s":%s}' % (head(call_id), member.encode(), body))


def refusal(call_id: str, error: McpError, longest: int) -> Answer:
    """A JSON-RPC response with the server's own error. Raises ToolResultInvalid."""
    body = {"code": error.code, "message": error.message, "data": error.data}
    return response(call_id, "error", {name: value for name, value in body.items() if value is not None}, longest)


def public_name(request: Requested) -> str:
    name = request.params.get("name", request.params.get("uri"))
    return name if isinstance(name, str) else ""


def server_params(request: Requested) -> JsonObject:
    """What goes to the server: nothing that it was not meant to see."""
    kept = ("uri",) if request.method == "resources/read" else ("name", "arguments")
    return {name: request.params[name] for name in kept if name in request.params}


def head(call_id: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,' % orjson.dumps(call_id)


def for_id(answer: Answer, call_id: str) -> Answer:
    """The same answer to a request with another id."""
    if answer.kind == "ERROR" or answer.payload.startswith(head(call_id)):
        return answer
    # The head is our own writing: the id's JSON text ends at the first `,"result":` or `,"error":`.
    for member in (b',"result":', b',"error":'):
        at = answer.payload.find(member, 0, 1024)
        if at > 0:
            return Answer(answer.kind, head(call_id) + answer.payload[at + 1 :])
    return answer


def error_answer(error: BridgeError) -> Answer:
    payload = error_payload(
        error.code, error.message, scope="call", retryable=error.retryable, effect=error.effect,
        retry_after_ms=error.retry_after_ms,
    )  # fmt: skip
    return Answer("ERROR", orjson.dumps(payload))
