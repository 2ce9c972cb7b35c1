"""Asking a gateway for a place: a code that a person confirms in the chat, and then a token, once; or whether a token
that is at hand is good.

Below `cli/`. Plain HTTP requests by the standard library, since this runs once in a bridge's life.
"""

import json
import platform
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bridge.protocol.frames import FINAL_CLOSES, FORBIDDEN, NOT_AUTHENTICATED
from bridge.proxies import proxy_of

_SECONDS = 15.0
_MOST = 65_536


class PairingFailed(Exception):
    """The gateway refused, or can't be reached. The message says why; `token` where it was the token."""

    def __init__(self, reason: str, *, token: bool = False) -> None:
        super().__init__(reason)
        self.token = token


@dataclass(frozen=True, slots=True)
class Offer:
    """A code for the person to confirm. `expires_at` is the gateway's RFC 3339 time."""

    pair_id: str
    code: str
    expires_at: str


def http_base(url: str) -> str:
    """`wss://host/tunnel` to `https://host`."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    path = parts.path.removesuffix("/").removesuffix("/tunnel").removesuffix("/v1")
    return urlunsplit((scheme, parts.netloc, path, "", ""))


def request_code(url: str, name: str) -> Offer:
    """Ask for a code. Raises PairingFailed."""
    answer = _ask(f"{http_base(url)}/api/v1/bridge/pair", {"name": name, "os": platform.system().lower()})
    try:
        return Offer(str(answer["pair_id"]), str(answer["code"]), str(answer.get("expires_at", "")))
    except KeyError:
        raise PairingFailed("the gateway's answer is no pairing code") from None


def wait_for_token(
    url: str, offer: Offer, *, pause: float = 1.5, seconds: float = 900.0, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Poll until a person confirmed the code. Raises PairingFailed where it is refused, spent or too late."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = _ask(f"{http_base(url)}/api/v1/bridge/pair/{offer.pair_id}", None)
        if answer.get("status") == "confirmed" and isinstance(answer.get("token"), str):
            token: str = answer["token"]
            return token
        sleep(pause)
    raise PairingFailed("nobody confirmed the code in time; run this again for a new one")


def refusal_of(url: str, token: str) -> str | None:
    """Why the gateway would not take this token; None where it would, or can't be asked."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "connect", "params": {}}
    try:
        answer = _ask(f"{http_base(url)}/api/v1/rpc", request, token)
    except PairingFailed as error:
        return FINAL_CLOSES[NOT_AUTHENTICATED] if error.token else None
    told = answer.get("result")
    scopes = told.get("scopes") if isinstance(told, dict) else None
    return FINAL_CLOSES[FORBIDDEN] if isinstance(scopes, list) and "tunnel" not in scopes else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead the token's way to somebody else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _ask(url: str, body: dict[str, Any] | None, token: str | None = None) -> dict[str, Any]:
    proxy = proxy_of(url)
    proxies = {} if proxy is None else {"https": proxy}
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects(), urllib.request.ProxyHandler(proxies)]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - http or https
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS) as response:
            answer = json.loads(response.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            asked = error.headers.get("WWW-Authenticate", "").startswith("Bearer")  # a proxy asks for something else
            raise PairingFailed(_refusal(error.code), token=error.code == 401 and asked) from None
    except (OSError, ValueError) as error:
        raise PairingFailed(
            f"the gateway can't be reached: {_reason(error)}; is it running there, and the address right?"
        ) from None
    if not isinstance(answer, dict):
        raise PairingFailed("the gateway's answer is no pairing code")
    return answer


def _reason(error: Exception) -> str:
    """In words, without numbers and the names of source files."""
    found = getattr(error, "reason", None)
    inner = found if isinstance(found, Exception) else error  # urllib wraps what went wrong
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, ssl.SSLError):
        plain = inner.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
        return "there is no TLS at that port (ws:// would be without)" if plain else f"TLS: {inner.reason}"
    return str(getattr(inner, "strerror", None) or inner).lower()


def _refusal(status: int) -> str:
    return {
        404: "this gateway does not know the code (any more)",
        410: "the code was refused, has expired or is spent; run this again for a new one",
        429: "too many attempts; wait a minute and run this again",
    }.get(status, f"the gateway answered {status}")


def qr_lines(text: str) -> Iterator[str]:
    """The text as a QR code of half blocks for a terminal."""
    rows = _squares(text)
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(" ▄▀█"[2 * (not above) + (not below)] for above, below in zip(upper, lower, strict=True))


def qr_lines_of_colours(text: str) -> Iterator[str]:
    """The same for a console without UTF-8: spaces, black or white by SGR (ECMA-48), which every terminal knows."""
    for row in _squares(text):
        yield "".join("\x1b[40m  " if dark else "\x1b[107m  " for dark in row) + "\x1b[0m"


def _squares(text: str) -> list[list[int]]:
    import segno

    return [list(row) for row in segno.make(text, error="l").matrix_iter(border=2)]
