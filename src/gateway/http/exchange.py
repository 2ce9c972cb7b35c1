"""What the routes share: bodies read within bounds, errors in their HTTP form, who is asking."""

import asyncio
from collections.abc import Mapping

import orjson
from aiohttp import web

from bus.errors import BadParameters, NotAuthenticated, TimedOut, TooLarge
from bus.events import JsonObject
from gateway import protocol
from gateway.auth import COOKIE, Authenticator, Principal
from gateway.json_text import dumps

BODY_SECONDS = 30.0

PROTECTIVE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "object-src 'none'; frame-ancestors 'none'",
    "Server": "gateway",
}


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(body=dumps(body), status=status, content_type="application/json", headers=headers)


def error_response(error: BaseException) -> web.Response:
    """An error as the contract writes it over HTTP; its `status` and `answer_headers` count where it has them."""
    status, body = protocol.http_error(error)
    status = getattr(error, "status", status)
    headers = dict(getattr(error, "answer_headers", {}))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    wait = body["error"].get("retry_after_ms")
    if wait is not None:
        headers["Retry-After"] = str(retry_after_seconds(wait))
    return json_response(body, status, headers)


def retry_after_seconds(milliseconds: int) -> int:
    """A wait in whole seconds, as the header Retry-After says it (RFC 9110, 10.2.3)."""
    return max(1, -(-milliseconds // 1000))


async def read_body(request: web.Request, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body. Raises TooLarge (1006), TimedOut (1004) where it trickles, BadParameters where it is packed."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadParameters("packed bodies are not taken")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"a body has at most {limit} bytes here")
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_chunked(65_536):
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"a body has at most {limit} bytes here")
    except TimeoutError as error:
        raise TimedOut("the body came too slowly") from error
    return bytes(body)


async def read_object(request: web.Request, limit: int) -> JsonObject:
    """The body as a JSON object. Raises BadParameters too."""
    try:
        found = orjson.loads(await read_body(request, limit))
    except ValueError as error:
        raise BadParameters("the body is not valid JSON") from error
    if not isinstance(found, dict):
        raise BadParameters("the body is a JSON object")
    return found


def bearer(request: web.Request, authenticator: Authenticator) -> Principal:
    """Who asks, by the Authorization header. Raises NotAuthenticated, TokenExpired."""
    found = authenticator.header(request.headers)
    if found is None:
        raise NotAuthenticated("send Authorization: Bearer TOKEN")
    return found


def bearer_or_cookie(request: web.Request, authenticator: Authenticator) -> Principal:
    """Who asks, by header or by the web chat's cookie. Raises NotAuthenticated, TokenExpired."""
    found = authenticator.header(request.headers) or authenticator.cookie(request.cookies.get(COOKIE))
    if found is None:
        raise NotAuthenticated("send Authorization: Bearer TOKEN")
    return found
