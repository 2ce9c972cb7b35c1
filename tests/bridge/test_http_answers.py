"""A server behind a URL whose answers are not what they should be: as over stdio, one call fails at most."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from bridge.errors import ToolResultInvalid
from bridge.settings import McpServerSettings
from tests.bridge.conftest import call, first_text, running

TOOLS = ("good", "half", "html", "latin", "deep", "event")
SECRET = "the-answer-was-a-secret"


async def _answer(request: web.Request) -> web.StreamResponse:
    """The least of Streamable HTTP; a tool is named after what is wrong with its answer."""
    if request.method != "POST":
        return web.Response(status=405)
    asked = orjson.loads(await request.read())
    number, method = asked.get("id"), asked.get("method")
    if number is None:
        return web.Response(status=202)
    if method == "initialize":
        result = b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"h","version":"1"}}'
    elif method == "tools/list":
        tools = ",".join(
            f'{{"name":"{n}","description":"cut \\ud83d","inputSchema":{{"type":"object"}}}}' for n in TOOLS
        )
        broken = '{"name":"nan","inputSchema":{"type":"object","properties":{"x":{"default":NaN}}}}'
        result = b'{"tools":[%b,%b]}' % (broken.encode(), tools.encode())
    else:
        text = {"half": rb"cut \ud83d", "latin": b"\xff"}.get(asked["params"]["name"], SECRET.encode())
        result = b'{"content":[{"type":"text","text":"%b"}]}' % text
    body = b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, result)
    match asked.get("params", {}).get("name"):
        case "html":
            body = b"<html>" + body
        case "deep":
            body = body[:-1] + b',"x":' + b"[" * 100_000
        case "event":
            text = b"event: message\ndata: {%b\n\n" % body
            return web.Response(body=text, content_type="text/event-stream")
    return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def served() -> AsyncIterator[McpServerSettings]:
    app = web.Application()
    app.router.add_route("*", "/mcp", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield McpServerSettings(name="h", url=f"http://127.0.0.1:{port}/mcp", protocol="2025-11-25", timeout=5.0)
    finally:
        await runner.cleanup()


@pytest.mark.attack(45)
async def test_an_answer_that_is_none_fails_its_call_and_says_nothing_of_what_is_in_it() -> None:
    async with served() as settings, running(settings) as owner:
        assert [tool.name for tool in owner.tools] == list(TOOLS)
        assert {tool.description for tool in owner.tools} == {"cut \ufffd"}
        assert [problem.what for problem in owner.offers.problems] == ["tool nan"]
        for name in ("html", "latin", "deep", "event"):
            with pytest.raises(ToolResultInvalid) as caught:
                await call(owner, name)
            assert caught.value.effect == "done"
            assert SECRET not in str(caught.value) and "\n" not in str(caught.value)
        assert first_text(await call(owner, "half")) == "cut \ufffd"
        assert first_text(await call(owner, "good")) == SECRET
