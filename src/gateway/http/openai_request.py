"""What a Chat Completions client asks, read and checked. Pure.

Unknown members are ignored, as clients of this API expect. Reference: OpenAI, Chat Completions.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from bus.errors import BadParameters
from bus.events import JsonObject

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PASSED_ON = (
    "temperature", "top_p", "stop", "response_format", "seed", "tool_choice", "parallel_tool_calls",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "logit_bias",
)  # fmt: skip
MAX_MESSAGES = 2000
MAX_TOOLS = 128


@dataclass(slots=True)
class Asked:
    """A request. `text` is the last user message, '' where the last message is not the user's."""

    text: str
    history: list[JsonObject]
    model: str | None
    stream: bool
    usage: bool
    tools: list[JsonObject] = field(default_factory=list)
    parameters: JsonObject = field(default_factory=dict)
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    """Images of the last message: type and bytes."""


def parse(body: JsonObject) -> Asked:
    """Read a request body. Raises BadParameters (1000)."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadParameters("messages: a list with at least one message")
    if len(messages) > MAX_MESSAGES:
        raise BadParameters(f"messages: at most {MAX_MESSAGES}")
    history = [_message(item, number) for number, item in enumerate(messages)]
    if body.get("n") not in (None, 1):
        raise BadParameters("n: only 1 is possible")
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise BadParameters("model: a name")
    stream = body.get("stream")
    if stream not in (None, True, False):
        raise BadParameters("stream: true or false")
    options = body.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    text = ""
    pictures: list[tuple[str, bytes]] = []
    if history[-1]["role"] == "user":
        text, pictures = _last(history.pop()["content"])
        if not text and not pictures:
            raise BadParameters("messages: the last one says nothing")
    elif not any(m["role"] == "user" for m in history):
        raise BadParameters("messages: one of them is the user's")
    return Asked(text, history, model, bool(stream), usage, _tools(body), _parameters(body), pictures)


def _message(item: Any, number: int) -> JsonObject:
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise BadParameters(f"messages.{number}: an object with a role")
    content = item.get("content")
    if content is not None and not isinstance(content, str | list):
        raise BadParameters(f"messages.{number}.content: a string or a list of parts")
    if isinstance(content, list) and not all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in content):
        raise BadParameters(f"messages.{number}.content: each part has a type")
    if content is None and item["role"] != "assistant":
        raise BadParameters(f"messages.{number}.content: required")
    calls = item.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(map(_is_call, calls))):
        raise BadParameters(
            f"messages.{number}.tool_calls: each is {{id, type: function, function: {{name, arguments}}}}"
        )
    if not isinstance(item.get("tool_call_id", ""), str) or (item["role"] == "tool" and not item.get("tool_call_id")):
        raise BadParameters(f"messages.{number}.tool_call_id: the id of the call that it answers")
    kept = {name: item[name] for name in ("role", "content", "name", "tool_calls", "tool_call_id") if name in item}
    if kept["role"] == "developer":
        kept["role"] = "system"
    return kept


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and all(
        isinstance(text, str) for text in (call.get("id"), function.get("name"), function.get("arguments"))
    )


def _last(content: str | list[JsonObject]) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and pictures of the user's last message. A picture elsewhere stays a link in the text."""
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    pictures: list[tuple[str, bytes]] = []
    for part in content:
        if part["type"] == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part["type"] == "image_url":
            link = part.get("image_url")
            url = link.get("url") if isinstance(link, dict) else link
            if not isinstance(url, str):
                raise BadParameters("image_url: an object with a url")
            if url.startswith("data:"):
                pictures.append(_picture(url))
            else:
                texts.append(url)
        else:
            raise BadParameters(f"a part of type {part['type'][:40]!r} cannot be read here")
    return "\n".join(texts), pictures


def _picture(url: str) -> tuple[str, bytes]:
    head, _, data = url.partition(",")
    mime, _, encoding = head.removeprefix("data:").partition(";")
    if encoding != "base64":
        raise BadParameters("image_url: a data URL is base64")
    try:
        return mime, base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadParameters("image_url: a data URL is base64") from error


def _tools(body: JsonObject) -> list[JsonObject]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise BadParameters(f"tools: a list of at most {MAX_TOOLS}")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise BadParameters("tools: each is {type: function, function: {name, ...}}")
    return tools


def _parameters(body: JsonObject) -> JsonObject:
    out = {name: body[name] for name in PASSED_ON if body.get(name) is not None}
    limit = body.get("max_completion_tokens")
    if limit is None:  # some clients write every member they know, as null
        limit = body.get("max_tokens")
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise BadParameters("max_tokens: a positive integer")
        out["max_tokens"] = limit
    return out
