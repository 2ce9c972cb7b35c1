"""What a scripted OpenAI-compatible server does wrong (or right), one function per failure.

Below `openai_server.py`, which chooses one by name for each request. A behaviour is
handed a `Line`, which writes the HTTP answer; `option` is the text after its name
(`slow 50` waits 50 ms between pieces). Names are those of the failures.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

Behaviour = Callable[["Line", str], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Make a function known under its own name, with dashes."""
    BEHAVIOURS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def pieces(text: str) -> list[str]:
    """A text in pieces as a model would send it: words with the space before them."""
    out: list[str] = []
    for index, word in enumerate(text.split(" ")):
        out.append(word if index == 0 else " " + word)
    return out


class Line:
    """The answer to one request, on its way out."""

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        self.request = request
        self.body = body
        self.response: web.StreamResponse | None = None
        self.sent = 0
        self.pace = 0.0
        self.index = True
        self.usage: dict[str, Any] | None = None
        self.reported: dict[str, Any] | None = None
        """The usage that was sent."""

    @property
    def last(self) -> dict[str, Any]:
        messages = self.body.get("messages") or [{}]
        return messages[-1] if isinstance(messages[-1], dict) else {}

    async def open(self, content_type: str = "text/event-stream") -> web.StreamResponse:
        if self.response is None:
            self.response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-cache"})
            await self.response.prepare(self.request)
        return self.response

    async def raw(self, data: bytes) -> None:
        response = await self.open()
        await response.write(data)

    async def event(self, value: Any) -> None:
        await self.raw(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.body.get("model"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip

    async def text(self, parts: Iterable[str]) -> None:
        for part in parts:
            await self.event(self.chunk({"content": part}))
            self.sent += 1
            if self.pace:
                await asyncio.sleep(self.pace)

    async def calls(self, calls: list[dict[str, Any]], fragment: int = 7) -> None:
        """Tool calls with their arguments in fragments of `fragment` characters."""
        for number, call in enumerate(calls):
            where = {"index": number} if self.index else {}
            arguments = call["arguments"]
            name = {"name": call["name"], "arguments": ""}
            first = {**where, "id": call.get("id", f"call_{number}"), "type": "function", "function": name}
            await self.event(self.chunk({"tool_calls": [first]}))
            for at in range(0, len(arguments), fragment):
                piece = {**where, "function": {"arguments": arguments[at : at + fragment]}}
                await self.event(self.chunk({"tool_calls": [piece]}))

    async def end(self, finish: str = "stop", *, done: bool = True, usage: bool = True) -> None:
        await self.event(self.chunk({}, finish))
        if usage and (self.body.get("stream_options") or {}).get("include_usage"):
            prompt = len(json.dumps(self.body.get("messages"))) // 4
            counted = self.usage or {
                "prompt_tokens": prompt, "completion_tokens": self.sent, "total_tokens": prompt + self.sent,
                "prompt_tokens_details": {"cached_tokens": prompt // 2},
            }  # fmt: skip
            self.reported = counted
            await self.event({**self.chunk({}), "choices": [], "usage": counted})
        if done:
            await self.raw(b"data: [DONE]\n\n")

    async def refuse(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        body = {"error": {"message": message, "type": "error", "code": code}}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = web.json_response(body, status=status, headers=names)
        await self.response.prepare(self.request)
        await self.response.write_eof()

    def cut(self) -> None:
        """Close the connection under the answer."""
        if self.request.transport is not None:
            self.request.transport.abort()


@behaviour
async def echo(line: Line, option: str) -> None:
    """Repeat what was said, or tell what a tool gave."""
    content = line.last.get("content")
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    await line.text(pieces(("Tool said: " if line.last.get("role") == "tool" else "You said: ") + said))
    await line.end()


@behaviour
async def say(line: Line, option: str) -> None:
    await line.text(pieces(option))
    await line.end()


@behaviour
async def slow(line: Line, option: str) -> None:
    """`slow 50 20`: 50 ms between 20 words."""
    pace, count = ([*option.split(), "50", "20"])[:2] if option else ("50", "20")
    line.pace = float(pace) / 1000
    await line.text(f"word{number} " for number in range(int(count)))
    await line.end()


@behaviour
async def silent(line: Line, option: str) -> None:
    """Headers, then nothing."""
    await line.open()
    await asyncio.sleep(3600)


@behaviour
async def deaf(line: Line, option: str) -> None:
    """Not even headers."""
    await asyncio.sleep(3600)


@behaviour
async def murmuring(line: Line, option: str) -> None:
    """Nothing but comments, for ever."""
    while True:
        await line.raw(b": keep-alive\n\n")
        await asyncio.sleep(0.02)


@behaviour
async def stalling(line: Line, option: str) -> None:
    await line.text(["It ", "begins "])
    await asyncio.sleep(3600)


@behaviour
async def endless(line: Line, option: str) -> None:
    block = b"data: " + json.dumps(line.chunk({"content": "and on " * 64})).encode() + b"\n\n"
    while True:
        await line.raw(block)
        await asyncio.sleep(0)


@behaviour
async def cut(line: Line, option: str) -> None:
    """The connection goes in the middle of an event."""
    await line.text(pieces(option or "This will be cut"))
    await line.raw(b'data: {"choices":[{"index":0,"delta":{"content":"in mi')
    await asyncio.sleep(0.01)
    line.cut()


@behaviour
async def cut_early(line: Line, option: str) -> None:
    """Headers, and the connection goes before anything was said."""
    await line.open()
    await asyncio.sleep(0.01)
    line.cut()


@behaviour
async def truncated(line: Line, option: str) -> None:
    """A clean end without finish_reason and without [DONE]."""
    await line.text(pieces("This ends too"))


@behaviour
async def no_done(line: Line, option: str) -> None:
    await line.text(pieces("No done marker"))
    await line.end(done=False)


@behaviour
async def no_usage(line: Line, option: str) -> None:
    await line.text(pieces("No usage given"))
    await line.end(usage=False)


@behaviour
async def garbage(line: Line, option: str) -> None:
    """200, the right type, then lines that are not JSON."""
    await line.raw(b"data: {not json\n\nwhat is this\n\ndata: 17\n\ndata: [1]\n\n\xff\xfe\n\n")


@behaviour
async def endless_line(line: Line, option: str) -> None:
    """One event that never ends: more than anybody would keep."""
    await line.raw(b"data: ")
    while True:
        await line.raw(b"q" * 1_048_576)


@behaviour
async def garbage_between(line: Line, option: str) -> None:
    await line.text(["still "])
    await line.raw(b"data: {broken\n\nnonsense\r\n\r\nevent: ping\ndata: {}\n\nid: 3\nretry: 10\n\n")
    await line.text(["here"])
    await line.end()


@behaviour
async def html(line: Line, option: str) -> None:
    response = await line.open("text/html; charset=utf-8")
    await response.write(b"<!doctype html><html><body>Welcome to nginx!</body></html>")


@behaviour
async def plain(line: Line, option: str) -> None:
    """A server that does not stream: one JSON completion."""
    message = {"role": "assistant", "content": option or "all at once"}
    body = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    response = await line.open("application/json")
    await response.write(json.dumps(body).encode())


@behaviour
async def error_midstream(line: Line, option: str) -> None:
    await line.text(["Half "])
    await line.event({"error": {"message": "the engine is on fire", "type": "server_error", "code": 500}})


@behaviour
async def error_first(line: Line, option: str) -> None:
    """200, then an error event before any text."""
    await line.event({"error": {"message": "no capacity", "type": "server_error", "code": None}})


@behaviour
async def status(line: Line, option: str) -> None:
    """`status 503`"""
    await line.refuse(int(option or "500"), "something broke")


@behaviour
async def rate_limited(line: Line, option: str) -> None:
    """429 with Retry-After (`rate-limited 30`)."""
    await line.refuse(429, "slow down", "rate_limit_exceeded", retry_after=option or "1")


@behaviour
async def quota(line: Line, option: str) -> None:
    await line.refuse(429, "You exceeded your current quota", "insufficient_quota")


@behaviour
async def refused_key(line: Line, option: str) -> None:
    await line.refuse(401, "Incorrect API key provided: sk-se****cret", "invalid_api_key")


@behaviour
async def too_long(line: Line, option: str) -> None:
    await line.refuse(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded")


@behaviour
async def filtered(line: Line, option: str) -> None:
    await line.text(["I was going to "])
    await line.end("content_filter")


@behaviour
async def huge_delta(line: Line, option: str) -> None:
    """One delta of 10 MB."""
    await line.text(["x" * int(option or 10_000_000)])
    await line.end()


@behaviour
async def lingering(line: Line, option: str) -> None:
    """A whole answer, but neither marker nor end of the body."""
    await line.text(["whole"])
    await line.end(done=False)
    await asyncio.sleep(3600)


@behaviour
async def brooding(line: Line, option: str) -> None:
    """Thinks aloud, beside the answer, and never comes to one."""
    for _ in range(10):
        await line.event(line.chunk({"reasoning_content": "let me think, "}))
    await asyncio.sleep(3600)


@behaviour
async def counting(line: Line, option: str) -> None:
    """Counts as it goes (vLLM's `continuous_usage_stats`), and the connection goes."""
    for number in range(1, 4):
        count = {"prompt_tokens": 11, "completion_tokens": number, "total_tokens": 11 + number}
        await line.event({**line.chunk({"content": "word "}), "usage": count})
    await asyncio.sleep(0.01)
    line.cut()
