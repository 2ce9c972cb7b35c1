"""`GET /` and its files: the web chat, built from `webui/` and served out of the package.

Above is the listener with its protective headers; below are the files of `static`, known by name and
read once, so that no path from outside is ever opened. A name that carries the hash of its content
may be kept for ever; the page itself is asked for again each time. No script and no style stands in
the page: the policy allows none.
"""

import gzip
import re
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import web

from bus.errors import NotFound

TYPES = {
    "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8", "json": "application/json; charset=utf-8",
    "txt": "text/plain; charset=utf-8", "woff2": "font/woff2", "png": "image/png", "ico": "image/x-icon",
    "webmanifest": "application/manifest+json; charset=utf-8",
}  # fmt: skip
"""By the file's ending, and never by the machine's own table: on Windows that one may be anything."""
POLICY = (
    "default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
PERMISSIONS = "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()"
_HASHED = re.compile(r"[a-z]+-[0-9a-f]{12}\.[a-z0-9]+\Z")
_SQUEEZED = ("text/", "application/json", "image/svg", "application/manifest")
FOR_EVER = "public, max-age=31536000, immutable"


def takes_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` takes gzip; `q=0` refuses it (RFC 9110, 12.4.2)."""
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent; `squeezed` is its gzip form where that is worth it."""

    body: bytes
    squeezed: bytes | None
    kind: str
    cache: str


class WebUi:
    """The files of `gateway/http/static`."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}

    def load(self) -> None:
        """Read the files."""
        for entry in (files("gateway.http") / "static").iterdir():
            kind = TYPES.get(entry.name.rpartition(".")[2])
            if entry.is_file() and kind is not None:
                body = entry.read_bytes()
                squeezed = gzip.compress(body, 9, mtime=0) if kind.startswith(_SQUEEZED) else None
                cache = FOR_EVER if _HASHED.match(entry.name) else "no-cache"
                self._files[entry.name] = File(body, squeezed, kind, cache)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.page), web.get("/static/{name}", self.file)]

    async def page(self, request: web.Request) -> web.Response:
        """The chat."""
        return self._serve("index.html", request)

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        return self._serve(request.match_info["name"], request)

    def _serve(self, name: str, request: web.Request) -> web.Response:
        if not self._files:
            self.load()
        found = self._files.get(name)
        if found is None:
            raise NotFound("there is nothing here")
        headers = {
            "Content-Type": found.kind, "Cache-Control": found.cache, "Content-Security-Policy": POLICY,
            "Permissions-Policy": PERMISSIONS,
        }  # fmt: skip
        if found.squeezed is None:
            return web.Response(body=found.body, headers=headers)
        headers["Vary"] = "Accept-Encoding"
        if not takes_gzip(request.headers.get("Accept-Encoding", "")):
            return web.Response(body=found.body, headers=headers)
        return web.Response(body=found.squeezed, headers=headers | {"Content-Encoding": "gzip"})
