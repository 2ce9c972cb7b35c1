"""Faults that a fake platform shows on request: refusals, rate limits, lost answers, outages.

A fault matches a request by method and by a piece of its path, a number of times
(-1: until removed). What it does is named after what a person would see happen.
"""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Kind = Literal["answer", "lose_answer", "lose_request", "stall", "answer_late"]
"""`answer`: this status and body, nothing done. `lose_answer`: done, then the connection breaks.
`lose_request`: the connection breaks before anything is done. `stall`: waits `seconds`, then does it.
`answer_late`: does it, then waits `seconds`."""


@dataclass
class Fault:
    """One fault. `method` '' is any; `path` is a pattern, found anywhere in the request's path."""

    path: str
    method: str = ""
    kind: Kind = "answer"
    status: int = 500
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    times: int = 1
    number: int = field(default_factory=itertools.count(1).__next__)


class Faults:
    """The faults in force, oldest first; `hits` counts how often any of them struck."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.hits = 0

    def add(self, fault: Fault) -> Fault:
        """Let it strike from now on."""
        self.waiting.append(fault)
        return fault

    def strike(
        self, named: str, path: str, times: int, *, limited: tuple[dict[str, Any], dict[str, str]],
        refused: tuple[int, dict[str, Any]],
    ) -> None:  # fmt: skip
        """What the contract of all channels calls `rate_limited`, `unavailable`, `answer_lost` and `blocked`.

        `limited` and `refused` are this platform's words for it: body and headers, status and body.
        """
        if named == "rate_limited":
            self.add(Fault(path, "POST", status=429, body=limited[0], headers=limited[1], times=times))
        elif named == "unavailable":
            self.add(Fault(path, "POST", status=503, times=times))
        elif named == "answer_lost":
            self.add(Fault(path, "POST", kind="lose_answer", times=times))
        else:
            self.add(Fault(path, "POST", status=refused[0], body=refused[1], times=times))

    def clear(self) -> None:
        """All is well again."""
        self.waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        for fault in self.waiting:
            if re.search(fault.path, path) and fault.method in ("", method) and fault.times != 0:
                fault.times -= 1
                if fault.times == 0:
                    self.waiting.remove(fault)
                self.hits += 1
                return fault
        return None

    async def around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Handle `request`, struck by what applies to it."""
        fault = self.take(request.method, request.path)
        if fault is None:
            return await handler(request)
        if fault.kind == "stall":
            await asyncio.sleep(fault.seconds)
            return await handler(request)
        if fault.kind == "lose_request":
            return _break(request)
        if fault.kind == "answer_late":
            answer = await handler(request)
            await asyncio.sleep(fault.seconds)
            return answer
        if fault.kind == "lose_answer":
            await handler(request)
            return _break(request)
        await request.read()
        return json_response(fault.body, status=fault.status, headers=fault.headers)


def _break(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON under a Content-Type without a charset: with one, discord.py takes the body for text."""
    data = json.dumps(body, ensure_ascii=False).encode()
    return web.Response(body=data, status=status, content_type="application/json", headers=headers)
