"""A conversation in a form that every server takes. Pure.

What a model once wrote stays in the history as it was: arguments that are no JSON, names that are none, ids of any
length. Many servers check all that and refuse the whole conversation, turn after turn, until it has left the window.
Used by `openai_client.py` for each request.
"""

import hashlib
import re
from collections.abc import Sequence

import orjson

from bus.events import JsonObject

MAX_ID_CHARS = 40
"""OpenAI's bound for the id of a call; those of vLLM are longer, and the next model may be OpenAI's."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ODD = re.compile(r"[^A-Za-z0-9_-]")


def presentable(messages: Sequence[JsonObject]) -> Sequence[JsonObject]:
    """The messages with broken arguments of earlier calls left out, odd names made plain, and long ids shortened."""
    if not any(message.get("tool_calls") for message in messages):
        return messages
    return [_tidy(message) for message in messages]


def _tidy(message: JsonObject) -> JsonObject:
    if message.get("tool_calls"):
        return {**message, "tool_calls": [_tidy_call(call) for call in message["tool_calls"]]}
    answered = message.get("tool_call_id")
    return message if _short(answered) == answered else {**message, "tool_call_id": _short(answered)}


def _tidy_call(call: JsonObject) -> JsonObject:
    function, call_id = call["function"], call.get("id")
    name, arguments = function.get("name"), function.get("arguments")
    if _plain(name) == name and _is_object(arguments) and _short(call_id) == call_id:
        return call
    kept = arguments if _is_object(arguments) else "{}"
    return {**call, "id": _short(call_id), "function": {**function, "name": _plain(name), "arguments": kept}}


def _plain(name: object) -> str:
    text = name if isinstance(name, str) else ""
    return text if _NAME.match(text) else _ODD.sub("_", text)[:64] or "unknown"


def _short(call_id: object) -> object:
    """The id itself, or what always stands for a longer one."""
    if not isinstance(call_id, str) or len(call_id) <= MAX_ID_CHARS:
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:32]


def _is_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(orjson.loads(text), dict)
    except ValueError:
        return False
