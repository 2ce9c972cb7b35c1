"""The `openai` package on a transport of aiohttp. Imported when first needed: it takes half a second and 40 MB.

Above it `openai_client.py`. The package makes the client and with it the request: address, authentication,
headers, all that its settings and environment say. It is asked for that once; each completion then goes out under
those headers with a body of its own. What is left aside costs: its typed stream takes 80 µs a chunk, its request
0.4 ms (`chat.completions.create` more, since it first walks through all messages), which is more than everything
else that happens between a message and the first word of the answer.
"""

import asyncio
import math
import ssl
import time
from email.utils import mktime_tz, parsedate_tz
from typing import Any

import aiohttp
import httpx2
import openai
import orjson
from multidict import CIMultiDict
from openai._types import RequestOptions
from yarl import URL

MAX_ERROR_BYTES = 65_536
CONNECT_SECONDS = 15
KEEPALIVE_SECONDS = 75
MAX_RETRY_AFTER = 86_400.0


_LEFT_OUT = ("host", "connection", "content-length", "x-stainless-")
"""Headers of the package that don't go out: they belong to the connection, or tell whoever runs the model which
system, processor and Python this is."""


class NotReached(Exception):
    """No connection, or it was lost before the headers came."""


class Refused(Exception):
    """An HTTP status that is no success. `message` is the server's; `retry_after` in seconds."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class _Capture(httpx2.AsyncBaseTransport):
    """Takes the request that the package made and sends nothing."""

    request: httpx2.Request

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.request = request
        return httpx2.Response(200, request=request)


async def _request_of(base_url: str, api_key: str | None) -> tuple[URL, CIMultiDict[str]]:
    """Address and headers of a streamed completion, as the package makes them."""
    capture = _Capture()
    # Without a key the package wants to be told with the request that none is meant.
    options: RequestOptions = {} if api_key else {"headers": {"Authorization": openai.Omit()}}
    async with openai.AsyncOpenAI(
        api_key=api_key or "none", base_url=base_url, max_retries=0,
        default_headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"},
        http_client=httpx2.AsyncClient(transport=capture, trust_env=False),
    ) as client:  # fmt: skip
        await client.post("/chat/completions", cast_to=httpx2.Response, content=b"{}", options=options)
    made = capture.request
    return URL(str(made.url), encoded=True), CIMultiDict(
        (name, value) for name, value in made.headers.multi_items() if not name.lower().startswith(_LEFT_OUT)
    )


class Endpoint:
    """One OpenAI-compatible address. Made with `open`, used inside the same loop."""

    def __init__(self, url: URL, headers: CIMultiDict[str], certificates: ssl.SSLContext | bool) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=certificates, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            trust_env=False,
            read_bufsize=256 * 1024,
        )

    @classmethod
    async def open(cls, base_url: str, api_key: str | None) -> "Endpoint":
        """Connects to nothing yet."""
        url, headers = await _request_of(base_url, api_key)
        # The system's certificates, as the package finds them on each platform; it reads many files.
        certificates = await asyncio.to_thread(httpx2.create_ssl_context) if url.scheme == "https" else True
        return cls(url, headers, certificates)

    async def post(self, body: bytes) -> aiohttp.ClientResponse:
        """Begin a completion: the answer's headers have come, with status 200. Raises Refused or NotReached."""
        try:
            response = await self._session.post(self._url, data=body, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            error.__traceback__ = None  # the connection keeps its error, and with this all that waits for it
            raise NotReached(type(error).__name__) from error
        if response.status == 200:
            return response
        try:
            raise await _refused(response)
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()


async def _refused(response: aiohttp.ClientResponse) -> Refused:
    """What the server says against it, read up to a bound. The body is `{"error": {message, code, type}}`."""
    taken = b""
    try:
        while len(taken) < MAX_ERROR_BYTES and (data := await response.content.readany()):
            taken += data
        found: Any = orjson.loads(taken)
    except (ValueError, aiohttp.ClientError, OSError):
        found = None
    error = found.get("error", found) if isinstance(found, dict) else None
    said = error if isinstance(error, dict) else {"message": error if isinstance(error, str) else ""}
    code = said.get("code") or said.get("type") or ""
    return Refused(response.status, str(code)[:100], str(said.get("message") or "")[:2_000], _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3: seconds or a date)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(response.headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return min(max(0.0, seconds), MAX_RETRY_AFTER) if math.isfinite(seconds) else None
    try:
        parsed = parsedate_tz(response.headers.get("retry-after", ""))
        return min(max(0.0, mktime_tz(parsed) - time.time()), MAX_RETRY_AFTER) if parsed else None
    except (ValueError, OverflowError):  # a date in the year 99999
        return None
