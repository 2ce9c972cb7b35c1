"""web_fetch and web_search against real servers on loopback."""

import asyncio
import gzip
import importlib
import inspect
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from agent.settings import WebSearchSettings
from agent.tools.builtin.addresses import is_public
from agent.tools.builtin.web_extract import simple
from agent.tools.builtin.web_fetch import WebFetch
from agent.tools.builtin.web_search import WebSearch
from tests.agent.tools.helpers import BOB, text, use
from tests.fakes.search_engines import KEY, SearchEngines

ARTICLE = (
    "<html><head><title>On  bridges</title><script>var secret_script = 1;</script></head><body><nav>Home About</nav>"
    "<article><h1>On bridges</h1>" + "<p>A bridge carries what it is given from one bank to the other, and asks "
    "nothing of it but its weight.</p>" * 8 + "<p>桥把东西从一岸送到另一岸。</p></article>"
    "<footer>Imprint</footer></body></html>"
)  # fmt: skip


class Site:
    """A web server with pages of every temper."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[web.Request] = []
        self.elsewhere = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Site":
        application = web.Application()
        application.router.add_route("*", "/{name:.*}", self._serve)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        name = request.match_info["name"]
        if name == "article":
            return web.Response(text=ARTICLE, content_type="text/html")
        if name == "gbk":
            return web.Response(
                body="<title>标题</title><p>中文网页</p>".encode("gbk"),
                headers={"Content-Type": "text/html; charset=gbk"},
            )
        if name == "plain":
            return web.Response(body=b"just text", headers={"Content-Type": "text/plain; charset=nonsense"})
        if name == "json":
            return web.json_response({"a": 1})
        if name == "picture":
            return web.Response(body=b"\x89PNG", content_type="image/png")
        if name == "missing":
            return web.Response(text="not here", status=404)
        if name == "loop":
            raise web.HTTPFound("/loop")
        if name == "away":
            raise web.HTTPFound(self.elsewhere)
        if name == "slow":
            await asyncio.sleep(3600)
        if name == "bomb":
            body = gzip.compress(b"<p>" + b"x" * 60_000_000)
            return web.Response(body=body, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})
        return await self._endless(request)

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain", "Set-Cookie": "a=b"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as running:
        yield running


def fetcher(site: Site, **members: Any) -> WebFetch:
    return WebFetch(allow_private=[("127.0.0.1", site.port)], **members)


async def test_a_page_becomes_readable_text(site: Site) -> None:
    found = (await use(fetcher(site), url=f"{site.url}/article")).structured_content
    assert found["title"] == "On bridges"
    assert "from one bank to the other" in found["text"]
    assert "桥把东西" in found["text"]
    assert "secret_script" not in found["text"]
    assert (found["status"], found["url"]) == (200, f"{site.url}/article")
    assert "cut" not in found


async def test_other_kinds_of_text(site: Site) -> None:
    assert (await use(fetcher(site), url=f"{site.url}/plain")).structured_content["text"] == "just text"
    assert (await use(fetcher(site), url=f"{site.url}/json")).structured_content["text"] == '{"a": 1}'
    assert "中文网页" in (await use(fetcher(site), url=f"{site.url}/gbk")).structured_content["text"]
    missing = (await use(fetcher(site), url=f"{site.url}/missing")).structured_content
    assert (missing["status"], missing["text"]) == (404, "not here")
    assert "image/png" in text(await use(fetcher(site), url=f"{site.url}/picture"))


def test_the_simple_reader() -> None:
    assert simple("<title> A\nB </title><p>one<br>two &amp; three</p><script>x</script><b>four</b>") == (
        "A B", "one\ntwo & three\nfour",
    )  # fmt: skip
    assert simple("</div></p><svg><p>hidden") == ("", "")
    assert simple("<" * 10_000)[0] == ""


@pytest.mark.quiet
async def test_sizes_and_times_are_bounded(site: Site) -> None:
    small = fetcher(site, most_bytes=100_000)
    endless = (await use(small, url=f"{site.url}/endless", max_chars=200_000)).structured_content
    assert (len(endless["text"]), endless["cut"]) == (100_000, True)
    bomb = (await use(small, url=f"{site.url}/bomb", max_chars=200_000)).structured_content
    assert len(bomb["text"]) <= 100_000
    cut = (await use(small, url=f"{site.url}/endless", max_chars=100)).structured_content
    assert (len(cut["text"]), cut["cut"]) == (100, True)
    started = time.monotonic()
    assert "within" in text(await use(fetcher(site, seconds=0.2), url=f"{site.url}/slow"))
    assert "within" in text(await use(fetcher(site), seconds=0.2, url=f"{site.url}/slow"))
    assert time.monotonic() - started < 1.5


async def test_redirects_are_followed_and_bounded(site: Site) -> None:
    site.elsewhere = "/article"
    assert (await use(fetcher(site), url=f"{site.url}/away")).structured_content["url"] == f"{site.url}/article"
    assert "redirects more than" in text(await use(fetcher(site), url=f"{site.url}/loop"))
    assert not any("Cookie" in request.headers for request in site.requests)


@pytest.mark.attack(52)
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::]", "0.0.0.0", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1"],
)  # fmt: skip
async def test_addresses_inside_are_not_fetched(site: Site, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, port: int, *_: Any, **__: Any) -> list[Any]:
        """As libc does: numbers in any notation are addresses."""
        address = "127.0.0.1" if name == "localhost" else socket.inet_ntoa(socket.inet_aton(name))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    result = await use(WebFetch(seconds=5), url=f"http://{host}:{site.port}/article")
    assert result.is_error
    assert "could not be fetched" in text(result) or "not on the public internet" in text(result)
    assert site.requests == []


@pytest.mark.attack(52)
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{other}/article",
        "http://localhost:{other}/",
        "http://[::1]:{other}/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_redirects_inside_are_not_followed(site: Site, target: str) -> None:
    async with Site() as other:
        site.elsewhere = target.format(other=other.port)
        result = await use(fetcher(site), url=f"{site.url}/away")
        assert "not on the public internet" in text(result)
        assert (len(site.requests), len(other.requests)) == (1, 0)


@pytest.mark.attack(52)
async def test_a_name_that_changes_its_answer_is_judged_by_the_address_connected_to(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert socket.getaddrinfo("rebind.example", 80)[0][4][0] == "93.184.216.34"  # what a check beforehand would see
    result = await use(WebFetch(seconds=5), url=f"http://rebind.example:{site.port}/article")
    assert "not on the public internet" in text(result)
    assert site.requests == []


@pytest.mark.attack(52)
@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/", "gopher://x", "http://", "//example.org", "example.org", "http://user:pw@example.org/",
     "http://[::1", "http://a b/", "http://x:99999/", "javascript:alert(1)",
     "http://example.org/\r\nHost: x", "data:text/html,x"],
)  # fmt: skip
async def test_what_is_no_web_address(url: str) -> None:
    assert (await use(WebFetch(seconds=2), url=url)).is_error


@pytest.mark.attack(52)
async def test_proxies_of_the_environment_do_not_bypass_the_guard(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.setenv("HTTP_PROXY", site.url)
    assert (await use(WebFetch(seconds=5), url="http://169.254.169.254/")).is_error
    assert site.requests == []


@pytest.mark.attack(52)
def test_which_addresses_are_public() -> None:
    inside = (
        "127.0.0.1 ::1 :: 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.100.100.200 192.0.0.8 224.0.0.1 "
        "255.255.255.255 198.18.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::808:808 2002:a00:1:: 2001::1 "
        "fe80::1%eth0 fd00::1 ff02::1 ::7f00:1 2001:db8::1 nonsense 1.2.3"
    )
    outside = "8.8.8.8 1.1.1.1 2606:4700:4700::1111 64:ff9b::808:808 2002:808:808:: ::ffff:8.8.8.8"
    assert [address for address in inside.split() if is_public(address)] == []
    assert [address for address in outside.split() if not is_public(address)] == []


# ---------------------------------------------------------------- search


@pytest.fixture
async def engine() -> AsyncIterator[SearchEngines]:
    async with SearchEngines() as running:
        yield running


def searching(engine: SearchEngines, provider: Any, key: str = KEY) -> WebSearch:
    return WebSearch(WebSearchSettings(provider=provider, base_url=engine.url, api_key=SecretStr(key)))


@pytest.mark.parametrize(
    ("provider", "path", "question"),
    [("searxng", "/search", {"q": "bridges", "format": "json"}),
     ("brave", "/res/v1/web/search", {"q": "bridges", "count": "2", "text_decorations": "false"}),
     ("tavily", "/search", {"query": "bridges", "max_results": 2})],
)  # fmt: skip
async def test_engines(engine: SearchEngines, provider: Any, path: str, question: dict[str, Any]) -> None:
    found = (await use(searching(engine, provider), query="bridges", count=2)).structured_content
    assert found["results"] == [
        {"title": "Bridges", "url": "https://example.org/b", "snippet": "About bridges."},
        {"title": "Second", "url": "https://example.org/c", "snippet": "More."},
    ]
    ((asked_path, asked, headers),) = engine.asked
    assert (asked_path, asked) == (path, question)
    assert ("the-key" in str(headers)) == (provider != "searxng")  # a SearXNG knows no keys


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(401, b"{}", "refused the key"), (429, b"{}", "too often"), (500, b"", "status 500"),
     (200, b"<html>", "not answer in JSON"),
     (200, b"[]", "not answer in JSON")],
)  # fmt: skip
async def test_engines_that_fail(engine: SearchEngines, status: int, body: bytes, said: str) -> None:
    engine.status, engine.body = status, body
    result = await use(searching(engine, "brave"), query="x")
    assert said in text(result)
    assert "the-key" not in text(result)


@pytest.mark.parametrize("provider", ["brave", "tavily"])
async def test_a_wrong_key_is_said_whatever_the_engine_calls_it(engine: SearchEngines, provider: str) -> None:
    assert "refused the key" in text(await use(searching(engine, provider, "wrong"), query="x"))


async def test_a_searxng_that_gives_no_json_and_a_plan_that_is_used_up_say_what_to_do(engine: SearchEngines) -> None:
    engine.formats.remove("json")
    assert "search.formats" in text(await use(searching(engine, "searxng"), query="x"))
    engine.used_up = True
    assert "used up" in text(await use(searching(engine, "tavily"), query="x"))


def test_the_package_ddgs_is_what_the_engine_takes_it_for() -> None:
    ddgs = importlib.import_module("ddgs.ddgs")
    inspect.signature(ddgs.DDGS).bind(timeout=5)
    inspect.signature(ddgs.DDGS.text).bind(None, "query", max_results=5)
    result = importlib.import_module("ddgs.results").TextResult()
    assert {"title", "href", "body"} <= set(vars(result))


@pytest.mark.parametrize("tool", ["web_fetch", "searxng", "ddgs"])
async def test_a_slow_name_server_holds_up_nothing_else(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver and the package ddgs block a thread each; the loop's own threads are for everybody."""
    answered = threading.Event()

    def resolve(host: str, *_: object, **__: object) -> Any:
        if answered.wait(30):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    class Ddgs(importlib.import_module("ddgs.ddgs").DDGS):  # type: ignore[misc]  # the package's own, imported late
        def text(self, *_: object, **__: object) -> list[dict[str, Any]]:
            return list(resolve("duckduckgo.com"))

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("ddgs.DDGS", Ddgs)
    fetch, search = WebFetch(seconds=30), WebSearch(WebSearchSettings(seconds=30, **_engine(tool)))
    with ThreadPoolExecutor(2) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        asked = [
            asyncio.ensure_future(
                use(fetch, url=f"http://n{number}.example/") if tool == "web_fetch" else use(search, query="bridges")
            )
            for number in range(4)
        ]
        try:
            await asyncio.sleep(0.2)
            async with asyncio.timeout(2):
                assert await asyncio.to_thread(lambda: "done") == "done"
        finally:
            answered.set()
        results = await asyncio.gather(*asked)
        assert all("could not be fetched" in text(each) or "failed" in text(each) for each in results)


def _engine(tool: str) -> dict[str, Any]:
    return {"provider": "searxng", "base_url": "http://search.example"} if tool == "searxng" else {"provider": "ddgs"}


async def test_engines_that_are_not_set_up() -> None:
    assert "api_key is not set" in text(await use(WebSearch(WebSearchSettings(provider="brave")), query="x"))
    assert "base_url is not set" in text(await use(WebSearch(WebSearchSettings(provider="searxng")), query="x"))
    off = WebSearch(WebSearchSettings(provider="off"))
    assert not off.spec.available
    assert "No search engine" in text(await use(off, query="x"))
    assert WebSearch(WebSearchSettings(base_url="http://127.0.0.1:9")).engine == "searxng"
    gone = WebSearch(WebSearchSettings(base_url="http://127.0.0.1:9"))
    assert "cannot be reached" in text(await use(gone, query="x"))


async def test_so_many_pages_are_read_at_once_and_everybody_has_his_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = most = 0
    begin = asyncio.create_subprocess_exec

    async def counted(*command: Any, **more: Any) -> Any:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        process = await begin(*command, **more)
        ended.append(asyncio.create_task(gone(process)))
        return process

    async def gone(process: Any) -> None:
        nonlocal alive
        await process.wait()
        alive -= 1

    ended: list[asyncio.Task[None]] = []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", counted)
    async with Site() as site:
        fetch = WebFetch(allow_private=[("127.0.0.1", site.port)])
        pages = [asyncio.create_task(use(fetch, url=f"{site.url}/article")) for _ in range(10)]
        await asyncio.sleep(0.05)
        bobs = await use(fetch, BOB, url=f"{site.url}/article")
        assert not all(page.done() for page in pages), "who came last waited behind another's ten"
        assert all("On bridges" in text(found) for found in (bobs, *await asyncio.gather(*pages)))
        await asyncio.gather(*ended)
    assert most <= 5  # one may still be leaving
