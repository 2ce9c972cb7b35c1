"""The `openai` package on a transport of aiohttp. Imported when first needed: it takes half a second and 40 MB.

Above it `openai_client.py`. The package does addresses, authentication and errors; its typed stream is left
aside (80 µs a chunk), and so is its default transport, since aiohttp is loaded anyway and reads cheaper.
A request is one `post` with a body that is bytes already: `chat.completions.create` first walks through all
messages, which a long history feels.
"""

from typing import Any

import aiohttp
import httpx2
import openai
from openai._types import RequestOptions

MAX_ERROR_BYTES = 65_536


class _Body(httpx2.AsyncByteStream):
    """The body of a refusal, bounded; the body of an answer is read from aiohttp directly."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        taken = 0
        while taken < MAX_ERROR_BYTES and (data := await self._response.content.readany()):
            taken += len(data)
            yield data

    async def aclose(self) -> None:
        self._response.close()


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._session.request(
                request.method, str(request.url), headers=request.headers, data=request.content, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ConnectError(type(error).__name__, request=request) from error
        headers = [(name, value) for name, value in response.raw_headers if name.lower() != b"content-encoding"]
        return httpx2.Response(
            response.status, headers=headers, stream=_Body(response), request=request, extensions={"aiohttp": response}
        )


class Endpoint:
    """One OpenAI-compatible address. Made and used inside a running loop."""

    def __init__(self, base_url: str, api_key: str | None, connections: int = 0) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=75),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=15),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            read_bufsize=256 * 1024,
        )
        # Without a key the package wants to be told with each request that none is meant.
        self._options: RequestOptions = {} if api_key else {"headers": {"Authorization": openai.Omit()}}
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=base_url,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},
            http_client=httpx2.AsyncClient(transport=_Transport(self._session), trust_env=False, timeout=None),
        )

    async def post(self, body: bytes) -> aiohttp.ClientResponse:
        """Begin a completion: the answer's headers have come, with status 200. Raises Refused or NotReached."""
        try:
            response: Any = await self._client.post(
                "/chat/completions", cast_to=httpx2.Response, content=body, stream=True, stream_cls=openai.AsyncStream,
                options=self._options,
            )  # fmt: skip
        except openai.APIStatusError as error:
            raise _refused(error) from None
        except openai.APIConnectionError as error:
            raise NotReached(str(error.__cause__ or error)) from error
        found: aiohttp.ClientResponse = response.extensions["aiohttp"]
        return found

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()
        await self._session.close()


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


def _refused(error: openai.APIStatusError) -> Refused:
    body = error.body if isinstance(error.body, dict) else {}
    code = error.code or body.get("type") or ""
    message = body.get("message") or ""
    return Refused(error.status_code, str(code), str(message), _retry_after(error.response.headers))


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3: seconds or a date)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return _until(headers.get("retry-after"))


def _until(date: str | None) -> float | None:
    import time
    from email.utils import mktime_tz, parsedate_tz

    parsed = parsedate_tz(date) if date else None
    return max(0.0, mktime_tz(parsed) - time.time()) if parsed else None
