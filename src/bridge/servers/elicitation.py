"""What a server asks in the middle of a call, carried to the person whose call it is.

Below `session.py`. The handshake era asks by a request of the server's, the modern one by a result that wants input.
Only forms are offered; sampling and everything else is declined.
"""

import asyncio
import math
from collections.abc import Sequence

import orjson

from bridge.errors import McpError
from bridge.servers.calls import Call, Question
from bridge.servers.jsonrpc import JsonObject

_MAX_MESSAGE = 4000
_MAX_FORM_BYTES = 64 * 1024
"""A form of more is for no person, and above the limit of a frame it would break the tunnel for all calls, again and
again for as long as the question stands."""


async def ask_somebody(server: str, params: JsonObject, calls: Sequence[Call]) -> JsonObject:
    """The answer to an `elicitation/create` while `calls` are in flight.

    MCP's handshake era doesn't say which call a question belongs to, so it must be beyond doubt: with calls of
    several people in one server, none of them may be shown what may be another's question.
    """
    able = [call for call in calls if call.on_question is not None]
    if not able or len({call.scope for call in able}) != 1:
        return {"action": "cancel"}
    return await elicit(server, params, able[-1])


async def elicit(server: str, params: JsonObject, call: Call) -> JsonObject:
    """Ask the person of this call; the call's clock stands still meanwhile."""
    message, schema = params.get("message"), params.get("requestedSchema")
    if call.on_question is None or params.get("mode", "form") != "form":
        return {"action": "decline"}
    if not isinstance(message, str) or not isinstance(schema, dict) or not _is_form(schema):
        return {"action": "cancel"}
    call.clock.pause()
    try:
        given = await call.on_question(Question(server, message[:_MAX_MESSAGE], schema))
    finally:
        call.clock.resume()
    action = given.get("action")
    if action == "accept" and isinstance(given.get("content"), dict):
        return {"action": "accept", "content": given["content"]}
    return {"action": action if action in ("decline", "cancel") else "cancel"}


def _is_form(schema: JsonObject) -> bool:
    """Whether it is built as MCP's forms are: whoever shows it relies on that, and one of its fields is an object."""
    fields, required = schema.get("properties", {}), schema.get("required", [])
    if not (isinstance(fields, dict) and all(isinstance(f, dict) for f in fields.values())):
        return False
    return isinstance(required, list) and _size(schema) <= _MAX_FORM_BYTES


def _size(schema: JsonObject) -> float:
    """In bytes of JSON; of what no frame can carry, endless."""
    try:
        return len(orjson.dumps(schema))
    except TypeError:
        return math.inf


async def answer_input(server: str, params: JsonObject, result: JsonObject, call: Call) -> JsonObject:
    """The parameters to ask with again, after a result that wants input (2026-07-28).

    Raises McpError where the server wants something else than an answer to a form.
    """
    wanted = result.get("inputRequests")
    answers: JsonObject = {}
    for key, asked in wanted.items() if isinstance(wanted, dict) else ():
        method = asked.get("method") if isinstance(asked, dict) else None
        inner = asked.get("params") if isinstance(asked, dict) else None
        if method != "elicitation/create" or not isinstance(inner, dict):
            raise McpError(-1, f"the server wants {str(method)[:60]}, which is not allowed here")
        answers[key] = await elicit(server, inner, call)
    if not answers:
        await asyncio.sleep(0.1)  # nothing to answer: the server only wants to be asked again
    again = {**params, "inputResponses": answers} if answers else dict(params)
    if isinstance(result.get("requestState"), str):
        again["requestState"] = result["requestState"]
    return again
