"""A scripted OpenAI-compatible server over real HTTP, for tests and end-to-end runs.

What it does for a request is the first of these that fits:

1. the next entry that a test has put into `server.queue` (`"silent"`, `"say Hello"`);
2. a rule of the script whose `match` is in the last user message: `{"match", "do"}`, with `"count"` for a rule
   that holds for so many requests only;
3. a directive in the last user message: `!slow 50 20`, `!tool clock {}` (up to the end of its line);
4. a model whose name is a behaviour (`silent`) or a behaviour and its option (`status:503`);
5. `echo`.

In its own process: `python -m tests.fakes.openai_server --port 0` prints the port on the first line. Beside the
API it answers `GET /requests` (what it got), `DELETE /requests`, and `PUT /script` (a list of rules).
"""

import argparse
import asyncio
import contextlib
import json
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web

import tests.fakes.openai_tool_behaviours  # noqa: F401  # registers them
from tests.fakes.openai_behaviours import BEHAVIOURS, Line


class OpenAIServer:
    """`async with OpenAIServer() as server:` then `server.url` is a base_url. `requests` are the bodies it got."""

    def __init__(
        self, *, port: int = 0, pace: float = 0.0, script: list[dict[str, Any]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.port = port
        self.tls = tls
        self.pace = pace
        self.script = script or []
        self.queue: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.usage: list[dict[str, Any]] = []
        """The usage of each answer, as it was sent."""
        self.connections: set[int] = set()
        self.open = 0
        self.lost = 0
        """Requests whose client went away before the answer was whole."""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> "OpenAIServer":
        application = web.Application(client_max_size=256 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self._complete)
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/requests", self._recorded)
        application.router.add_delete("/requests", self._forget)
        application.router.add_put("/script", self._rewrite)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.connections.add(id(request.transport))
        line = Line(request, body)
        line.pace = self.pace
        name, option = self._choose(body)
        self.open += 1
        try:
            if body.get("stream"):
                await BEHAVIOURS[name](line, option)
            else:
                await _whole(line, name, option)
        except (asyncio.CancelledError, ConnectionError):
            self.lost += 1
            raise
        finally:
            self.open -= 1
            if line.reported is not None:
                self.usage.append(line.reported)
        return line.response or await line.open()

    def _choose(self, body: dict[str, Any]) -> tuple[str, str]:
        if self.queue:
            return _named(self.queue.pop(0))
        said = _last_said(body)
        for rule in self.script:
            if rule["match"] in said and rule.get("count", 1) > 0:
                if "count" in rule:
                    rule["count"] -= 1
                return _named(rule["do"])
        if "!" in said:
            name, option = _named(said[said.index("!") + 1 :].split("\n")[0])
            if name in BEHAVIOURS:
                return name, option
        name, option = _named(str(body.get("model")).replace(":", " "))
        return (name, option) if name in BEHAVIOURS else ("echo", "")

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _recorded(self, request: web.Request) -> web.Response:
        return web.json_response({"requests": self.requests, "headers": self.headers, "lost": self.lost})

    async def _forget(self, request: web.Request) -> web.Response:
        self.requests.clear()
        self.headers.clear()
        return web.json_response({})

    async def _rewrite(self, request: web.Request) -> web.Response:
        self.script = await request.json()
        return web.json_response({})


def _named(text: str) -> tuple[str, str]:
    name, _, option = text.strip().partition(" ")
    return name, option.strip()


def _last_said(body: dict[str, Any]) -> str:
    for message in reversed(body.get("messages") or []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
            return str(content)
    return ""


async def _whole(line: Line, name: str, option: str) -> None:
    """An answer to a request that did not ask for a stream."""
    if name in ("status", "rate-limited", "quota", "refused-key", "too-long", "silent", "deaf", "html"):
        await BEHAVIOURS[name](line, option)
    else:
        await BEHAVIOURS["plain"](line, option or f"You said: {_last_said(line.body)}")


async def _serve(port: int, pace: float, script: str | None) -> None:
    rules = json.loads(Path(script).read_text()) if script else []
    async with OpenAIServer(port=port, pace=pace, script=rules) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between pieces")
    parser.add_argument("--script", help="a JSON file with rules")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, given.pace, given.script))


if __name__ == "__main__":
    main()
