"""Search engines: each a function from settings, query and count to hits.

Below `web_search.py`. What they answer is data. Formats: SearXNG (docs.searxng.org/dev/search_api: `/search?format=
json`, which an instance has to allow in its settings), Brave Search API (`/res/v1/web/search`; a bad token is 422
`SUBSCRIPTION_TOKEN_INVALID`), Tavily (docs.tavily.com: `POST /search`; 432 and 433 are used-up plans), and the
package ddgs, which asks several engines.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from agent.settings import WebSearchSettings
from agent.tools.builtin.names import Names

MAX_ANSWER_BYTES = 4 * 1024 * 1024
_threads = ThreadPoolExecutor(4, thread_name_prefix="ddgs")
"""The package blocks the thread that asks it, for a name server too: the loop's own are for everybody."""
REFUSED_KEY = "the search engine refused the key (tools.web_search.api_key)"


@dataclass(frozen=True, slots=True)
class Hit:
    title: str
    url: str
    snippet: str


class EngineFailed(Exception):
    """The engine gave no hits, and why; without addresses or keys."""


Engine = Callable[[WebSearchSettings, str, int], Awaitable[list[Hit]]]


async def _searxng(settings: WebSearchSettings, query: str, count: int) -> list[Hit]:
    if not settings.base_url:
        raise EngineFailed("tools.web_search.base_url is not set")
    url = settings.base_url.rstrip("/") + "/search"
    refused = {403: "it does not give JSON: allow it in its settings.yml (search.formats)"}
    found = await _ask("GET", url, refused, params={"q": query, "format": "json"})
    return _hits(found.get("results"), "title", "url", "content")


async def _brave(settings: WebSearchSettings, query: str, count: int) -> list[Hit]:
    url = (settings.base_url or "https://api.search.brave.com").rstrip("/") + "/res/v1/web/search"
    params = {"q": query, "count": str(count), "text_decorations": "false"}  # else it marks the words of the query
    found = await _ask("GET", url, {422: REFUSED_KEY}, params=params, headers={"X-Subscription-Token": _key(settings)})
    web = found.get("web")
    return _hits(web.get("results") if isinstance(web, dict) else None, "title", "url", "description")


async def _tavily(settings: WebSearchSettings, query: str, count: int) -> list[Hit]:
    url = (settings.base_url or "https://api.tavily.com").rstrip("/") + "/search"
    body = orjson.dumps({"query": query, "max_results": count})
    headers = {"Authorization": f"Bearer {_key(settings)}", "Content-Type": "application/json"}
    used_up = "the plan of this key is used up (tools.web_search.api_key)"
    found = await _ask("POST", url, {432: used_up, 433: used_up}, data=body, headers=headers)
    return _hits(found.get("results"), "title", "url", "content")


async def _ddgs(settings: WebSearchSettings, query: str, count: int) -> list[Hit]:
    def search() -> list[dict[str, Any]]:
        from ddgs import DDGS

        return list(DDGS(timeout=int(settings.seconds) or 1).text(query, max_results=count))

    try:
        found = await asyncio.get_running_loop().run_in_executor(_threads, search)
    except ImportError:
        raise EngineFailed("the package ddgs is not installed (extra `web`)") from None
    except Exception as error:  # the package raises what its engines' clients raise
        raise EngineFailed(type(error).__name__) from None
    return _hits(found, "title", "href", "body")


ENGINES: dict[str, Engine] = {"searxng": _searxng, "brave": _brave, "tavily": _tavily, "ddgs": _ddgs}


async def _ask(method: str, url: str, meanings: Mapping[int, str], **request: Any) -> dict[str, Any]:
    """One request; the answer's JSON object. `meanings` are an engine's own statuses. Raises EngineFailed."""
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=Names()), trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.request(method, url, allow_redirects=False, **request) as response,
        ):
            body = await response.content.read(MAX_ANSWER_BYTES)
            while len(body) < MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
                body += more
            status = response.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise EngineFailed(f"the search engine cannot be reached ({type(error).__name__})") from None
    if status in meanings:
        raise EngineFailed(meanings[status])
    if status in (401, 403):
        raise EngineFailed(REFUSED_KEY)
    if status == 429:
        raise EngineFailed("the search engine is asked too often, try again later")
    if status != 200:
        raise EngineFailed(f"the search engine answered with status {status}")
    try:
        found = orjson.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineFailed("the search engine did not answer in JSON")
    return found


def _key(settings: WebSearchSettings) -> str:
    if settings.api_key is None:
        raise EngineFailed("tools.web_search.api_key is not set")
    return settings.api_key.get_secret_value()


def _hits(found: Any, title: str, url: str, snippet: str) -> list[Hit]:
    entries = found if isinstance(found, list) else []
    return [
        Hit(str(entry.get(title) or ""), str(entry[url]), str(entry.get(snippet) or ""))
        for entry in entries
        if isinstance(entry, dict) and entry.get(url)
    ]
