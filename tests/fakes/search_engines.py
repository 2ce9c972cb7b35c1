"""Search engines as their documentation describes them: SearXNG, Brave, Tavily, behind one address.

SearXNG: docs.searxng.org/dev/search_api (an instance whose settings do not name the format answers 403). Brave: the
Search API's `web/search` (a bad token is 422, `SUBSCRIPTION_TOKEN_INVALID`; words of the query are marked unless
`text_decorations` is off). Tavily: docs.tavily.com, `POST /search` (401 without a good key, 432 for a used-up plan).
"""

from typing import Any

from aiohttp import web

KEY = "the-key"
HITS = [
    {"title": "Bri\u200bdges\x1b[31m", "url": "https://example.org/b", "text": "About bridges."},
    {"title": "Second", "url": "https://example.org/c", "text": "More."},
]


class SearchEngines:
    """`asked` are path, parameters and headers. `status` and `body`, where set, answer in place of the engine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.formats = {"html", "json"}
        self.used_up = False
        self.status = 200
        self.body: bytes | None = None

    async def __aenter__(self) -> "SearchEngines":
        application = web.Application()
        application.router.add_get("/search", self._searxng)
        application.router.add_get("/res/v1/web/search", self._brave)
        application.router.add_post("/search", self._tavily)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _note(self, request: web.Request, given: dict[str, Any]) -> web.Response | None:
        self.asked.append((request.path, given, dict(request.headers)))
        return None if self.body is None else web.Response(body=self.body, status=self.status)

    async def _searxng(self, request: web.Request) -> web.Response:
        if (answer := self._note(request, dict(request.query))) is not None:
            return answer
        if request.query.get("format", "html") not in self.formats:
            return web.Response(status=403, text="<h1>Forbidden</h1>", content_type="text/html")
        results: list[Any] = [
            {"title": hit["title"], "url": hit["url"], "content": hit["text"], "engine": "duckduckgo", "score": 1.0,
             "engines": ["duckduckgo"], "positions": [1], "category": "general", "template": "default.html"}
            for hit in HITS
        ]  # fmt: skip
        results[1:1] = [{"title": "no address"}, "odd"]
        return web.json_response({"query": request.query["q"], "number_of_results": 0, "results": results,
                                  "answers": [], "corrections": [], "infoboxes": [], "suggestions": [],
                                  "unresponsive_engines": [["google", "timeout"]]})  # fmt: skip

    async def _brave(self, request: web.Request) -> web.Response:
        if (answer := self._note(request, dict(request.query))) is not None:
            return answer
        if request.headers.get("X-Subscription-Token") != KEY:
            error = {"id": "1", "status": 422, "code": "SUBSCRIPTION_TOKEN_INVALID",
                     "detail": "The provided subscription token is invalid."}  # fmt: skip
            return web.json_response({"type": "ErrorResponse", "error": error, "time": 1}, status=422)
        marked = request.query.get("text_decorations", "true") != "false"
        results = [
            {"type": "search_result", "title": hit["title"], "url": hit["url"], "is_source_local": False,
             "description": hit["text"].replace("bridges", "<strong>bridges</strong>") if marked else hit["text"]}
            for hit in HITS
        ]  # fmt: skip
        return web.json_response({"type": "search", "query": {"original": request.query["q"]},
                                  "mixed": {"type": "mixed", "main": []},
                                  "web": {"type": "search", "results": results}})  # fmt: skip

    async def _tavily(self, request: web.Request) -> web.Response:
        given = await request.json()
        if (answer := self._note(request, given)) is not None:
            return answer
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": {"error": "Unauthorized: missing or invalid API key."}}, status=401)
        if self.used_up:
            return web.json_response(
                {"detail": {"error": "This request exceeds your plan's set usage limit."}}, status=432
            )
        results = [{"title": hit["title"], "url": hit["url"], "content": hit["text"], "score": 0.9, "raw_content": None}
                   for hit in HITS[: given.get("max_results", 5)]]  # fmt: skip
        return web.json_response({"query": given["query"], "answer": None, "images": [], "results": results,
                                  "follow_up_questions": None, "response_time": 0.5, "request_id": "r"})  # fmt: skip
