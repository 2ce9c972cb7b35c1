"""`web_search`: one tool, four engines behind it: SearXNG, Brave, Tavily, ddgs.

Each engine is a function from a query to hits; `web_engines.py` has them. Which one is the operator's choice
(`tools.web_search` in the configuration), and its address is his word: no SSRF guard here.
"""

import asyncio
import dataclasses
import importlib.util

from agent.ports.tools import ToolCall, ToolSpec
from agent.settings import WebSearchSettings
from agent.tools.builtin.web_engines import ENGINES, EngineFailed, Hit
from agent.tools.registry import ToolProblem
from agent.tools.schema import clean
from bus.deadline import Deadline
from bus.events import JsonObject

_SPEC = ToolSpec(
    name="web_search",
    description="Search the web. Returns titles, addresses and snippets; read a page with web_fetch.",
    input_schema={
        "type": "object",
        "properties": {
            "query": {"type": "string", "minLength": 1, "maxLength": 400},
            "count": {"type": "integer", "minimum": 1, "maximum": 20, "default": 5},
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    read_only=True,
    idempotent=True,
)


class WebSearch:
    """Asks the chosen engine. Without one the tool is listed as not available."""

    def __init__(self, settings: WebSearchSettings | None = None) -> None:
        self._settings = settings or WebSearchSettings()
        self.engine = chosen(self._settings)
        self.spec = dataclasses.replace(_SPEC, available=self.engine is not None)

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem where the engine gives nothing."""
        if self.engine is None:
            raise ToolProblem("No search engine is set up (tools.web_search in the gateway's configuration).")
        query, count = str(call.arguments["query"]), int(call.arguments.get("count", 5))
        seconds = max(0.1, min(self._settings.seconds, deadline.remaining()))
        try:
            async with asyncio.timeout(seconds):
                hits = await ENGINES[self.engine](self._settings, query, count)
        except TimeoutError:
            raise ToolProblem(f"The search engine did not answer within {seconds:.0f} seconds.") from None
        except EngineFailed as failed:
            raise ToolProblem(f"The search failed: {failed}.") from None
        return {"query": query, "results": [_shown(hit) for hit in hits[:count]]}


def _shown(hit: Hit) -> JsonObject:
    return {"title": clean(hit.title, 300), "url": clean(hit.url, 2_000), "snippet": clean(hit.snippet, 1_000)}


def chosen(settings: WebSearchSettings) -> str | None:
    """The engine: the one named, or under `auto` SearXNG where an address is set, else ddgs where it is installed."""
    if settings.provider == "off":
        return None
    if settings.provider != "auto":
        return settings.provider
    if settings.base_url:
        return "searxng"
    return "ddgs" if importlib.util.find_spec("ddgs") else None
