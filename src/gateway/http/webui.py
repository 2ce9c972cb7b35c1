"""`GET /` and its files: a small chat page, served from the package. No script stands in the page itself."""

from importlib.resources import files

from aiohttp import web

from bus.errors import NotFound

TYPES = {
    "html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "json": "application/json",
    "woff2": "font/woff2", "png": "image/png", "ico": "image/x-icon", "webmanifest": "application/manifest+json",
}  # fmt: skip
_TEXT = frozenset({"html", "js", "css", "svg", "json", "webmanifest"})


class WebUi:
    """The files of `gateway/http/static`, known by name and read once: no path from outside is ever opened."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}

    def load(self) -> None:
        """Read the files."""
        folder = files("gateway.http") / "static"
        for entry in folder.iterdir():
            kind = entry.name.rpartition(".")[2]
            if entry.is_file() and kind in TYPES:
                self._files[entry.name] = (entry.read_bytes(), TYPES[kind])

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.page), web.get("/static/{name}", self.file)]

    async def page(self, request: web.Request) -> web.Response:
        """The chat."""
        return self._serve("index.html")

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._serve(request.match_info["name"])

    def _serve(self, name: str) -> web.Response:
        if not self._files:
            self.load()
        found = self._files.get(name)
        if found is None:
            raise NotFound("there is nothing here")
        body, kind = found
        charset = "; charset=utf-8" if name.rpartition(".")[2] in _TEXT else ""
        return web.Response(body=body, headers={"Content-Type": kind + charset, "Cache-Control": "no-cache"})
