"""Answers in the shape of Chat Completions, whole or in chunks. Pure but for the time of day."""

import time

from bus.context import new_id
from bus.events import ChatDone, JsonObject, Usage

FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter"}
"""Ours to theirs; a cancelled answer has simply stopped."""


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens or usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }  # fmt: skip


def completion(done: ChatDone, model: str) -> JsonObject:
    """The whole answer."""
    message: JsonObject = {"role": "assistant", "content": done.text or None, "refusal": None}
    if done.tool_calls:
        message["tool_calls"] = list(done.tool_calls)
    else:
        message["content"] = done.text
    choice = {
        "index": 0, "message": message, "logprobs": None, "finish_reason": FINISH.get(done.finish_reason, "stop"),
    }  # fmt: skip
    return {
        "id": new_id("chatcmpl"), "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [choice], "usage": _usage(done.usage),
    }  # fmt: skip


class Chunks:
    """The chunks of one answer."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: JsonObject = {
            "id": new_id("chatcmpl"), "object": "chat.completion.chunk", "created": int(time.time()), "model": model,
        }  # fmt: skip

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return self._head | {"choices": [choice]} | usage

    def first(self) -> JsonObject:
        """Who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def delta(self, text: str) -> JsonObject:
        """A piece of the answer."""
        return self._chunk({"content": text})

    def last(self, done: ChatDone) -> list[JsonObject]:
        """The end: calls for the client, the reason, and the usage where it was asked for."""
        out = []
        if done.tool_calls:
            calls = [{"index": number} | call for number, call in enumerate(done.tool_calls)]
            out.append(self._chunk({"tool_calls": calls}))
        out.append(self._chunk({}, FINISH.get(done.finish_reason, "stop")))
        if self._include_usage:
            out.append(self._head | {"choices": [], "usage": _usage(done.usage)})
        return out
