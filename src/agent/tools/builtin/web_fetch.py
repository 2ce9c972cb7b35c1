"""`web_fetch`: a web page as readable text.

Below it `addresses.py` (what may be connected to) and `web_extract.py` (text out of HTML, in a process of its own,
because the parser is large, in C, and fed by strangers). Every fetch has its own session: no cookies, no pooled
connections, no proxies, so that one person's fetch is invisible to another's and nothing bypasses the guard.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.builtin.addresses import GuardedSockets
from agent.tools.builtin.names import Names
from agent.tools.builtin.web_text import readable
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.events import JsonObject

MAX_HOPS = 5
MAX_URL_CHARS = 4_096
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Page:
    """What was got: `body` is cut at the limit, and `cut` says so."""

    url: str
    status: int
    mime: str
    charset: str | None
    body: bytes
    cut: bool


class WebFetch:
    """Gets one page. `seconds` is for everything together, `most_bytes` for the body after decompression.

    `allow_private` are servers of tests (address and port); it is not a setting.
    """

    spec = ToolSpec(
        name="web_fetch",
        description="Fetch a public web page (http or https) and return its readable text.",
        input_schema={
            "type": "object",
            "properties": {
                "url": {"type": "string", "maxLength": MAX_URL_CHARS},
                "max_chars": {"type": "integer", "minimum": 100, "maximum": 200_000, "default": 20_000},
            },
            "required": ["url"],
            "additionalProperties": False,
        },
        read_only=True,
        idempotent=True,
    )

    def __init__(
        self, *, seconds: float = 20.0, most_bytes: int = 5 * 1024 * 1024,
        allow_private: Collection[tuple[str, int]] = (),
    ) -> None:  # fmt: skip
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._allow_private = allow_private

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem where there is no such page, or it may not be fetched."""
        seconds = max(0.1, min(self._seconds, deadline.remaining()))
        try:
            async with asyncio.timeout(seconds):
                page = await self._get(checked_url(str(call.arguments["url"])))
        except TimeoutError:
            raise ToolProblem(f"The page did not come within {seconds:.0f} seconds.") from None
        seconds = max(0.1, deadline.remaining())
        title, text = await readable(page.body, page.mime, page.charset, seconds, call.actor.user)
        most = int(call.arguments.get("max_chars", 20_000))
        found: JsonObject = {"url": page.url, "status": page.status, "title": title, "text": text[:most]}
        if page.cut or len(text) > most:
            found["cut"] = True
        return found

    async def _get(self, url: str) -> Page:
        sockets = GuardedSockets(self._allow_private)
        connector = aiohttp.TCPConnector(
            socket_factory=sockets, resolver=Names(), force_close=True, use_dns_cache=False
        )
        headers = {"User-Agent": "Mozilla/5.0 (compatible; busgate)", "Accept": "text/html,text/plain,*/*;q=0.5"}
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        ) as session:  # fmt: skip
            try:
                return await self._follow(session, url)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if sockets.refused:
                    raise ToolProblem("That address is not on the public internet, so it is not fetched.") from None
                raise ToolProblem(f"The page could not be fetched ({type(error).__name__}).") from None

    async def _follow(self, session: aiohttp.ClientSession, url: str) -> Page:
        """Redirects are followed here, one by one: each hop's scheme and address is checked like the first's."""
        for _ in range(MAX_HOPS + 1):
            async with session.get(url, allow_redirects=False) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECTS or not target:
                    return await self._page(response, url)
                url = checked_url(urljoin(url, target))
        raise ToolProblem(f"The page redirects more than {MAX_HOPS} times.")

    async def _page(self, response: aiohttp.ClientResponse, url: str) -> Page:
        taken = bytearray()
        cut = False
        async for data in response.content.iter_any():
            taken += data
            if len(taken) > self._most_bytes:
                del taken[self._most_bytes :]
                cut = True
                response.close()
                break
        return Page(url, response.status, response.content_type, response.charset, bytes(taken), cut)


def checked_url(url: str) -> str:
    """An http or https URL without a password in it. Raises ToolProblem."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ToolProblem("That is not a URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ToolProblem("Only http and https addresses of web pages can be fetched, e.g. https://example.org/page.")
    if parts.username is not None or parts.password is not None:
        raise ToolProblem("An address with a user name or password in it is not fetched.")
    if len(url) > MAX_URL_CHARS or any(ord(character) < 33 for character in url.strip()):
        raise ToolProblem("That is not a URL.")
    return url.strip()
