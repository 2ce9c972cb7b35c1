"""`/health`, `/ready`, `/metrics`, `/status`, media and login."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import quote, unquote

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bus.errors import BadParameters, GatewayError, TimedOut, TooLarge
from bus.events import JsonObject
from gateway.auth import COOKIE, Authenticator, Principal, require
from gateway.http.exchange import bearer, bearer_or_cookie, json_response, read_object
from gateway.identity.logins import COOKIE_SECONDS, Logins
from gateway.identity.media import MediaFolder
from gateway.identity.tokens import Tokens
from gateway.identity.tries import Tries
from gateway.identity.users import Users
from gateway.network import Doors

LOGIN_BYTES = 4096
MULTIPART_OVERHEAD = 65_536


class StateRoutes:
    """How the gateway is: for probes, Prometheus and admins."""

    def __init__(
        self, *, authenticator: Authenticator, doors: Doors, ready: Callable[[], bool],
        status: Callable[[], JsonObject], metrics: Callable[[], bytes],
    ) -> None:  # fmt: skip
        self._authenticator = authenticator
        self._doors = doors
        self._ready = ready
        self._status = status
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self.health), web.get("/ready", self.ready),
            web.get("/metrics", self.metrics), web.get("/status", self.status),
        ]  # fmt: skip

    async def health(self, request: web.Request) -> web.Response:
        """The process is alive."""
        return json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Messages are taken in."""
        if self._ready():
            return json_response({"status": "ready"})
        return json_response({"status": "not ready"}, 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text: on this machine for everyone, else by scope."""
        if not self._doors.direct_loopback(request.remote or "", request.headers):
            require(bearer(request, self._authenticator), ("metrics",))
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def status(self, request: web.Request) -> web.Response:
        """The live state, for admins."""
        require(bearer_or_cookie(request, self._authenticator), ("admin",))
        return json_response(self._status())


class PersonalRoutes:
    """Logging in with a browser, and files. `secure` is whether cookies may travel over TLS only."""

    def __init__(
        self, *, authenticator: Authenticator, tokens: Tokens, users: Users, logins: Logins, media: MediaFolder,
        max_media_bytes: int, secure: bool, peer: Callable[[web.Request], str],
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._authenticator = authenticator
        self._tokens = tokens
        self._users = users
        self._logins = logins
        self._media = media
        self._max_media_bytes = max_media_bytes
        self._secure = secure
        self._peer = peer
        self._now = now
        self._tries = Tries(tries=20)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/login", self.login), web.post("/api/v1/logout", self.logout),
            web.post("/api/v1/media", self.upload), web.get("/api/v1/media/{media_id}", self.download),
        ]  # fmt: skip

    async def login(self, request: web.Request) -> web.Response:
        """Exchange a one-time code for the web chat's cookie."""
        body = await read_object(request, LOGIN_BYTES)
        code = body.get("code")
        if set(body) != {"code"} or not isinstance(code, str):
            raise BadParameters("the body is {code}")
        guesser, moment = self._peer(request), time.monotonic()
        self._tries.check(guesser, moment)
        try:
            user = self._logins.redeem(code, self._now())
        except GatewayError:
            self._tries.wrong(guesser, moment)
            raise
        role = self._users.role_of(user)
        token, text = self._tokens.create(user, role, self._now(), ttl=COOKIE_SECONDS, name="web login", kind="web")
        response = json_response({"user": user, "role": role, "scopes": sorted(token.scopes)})
        response.set_cookie(
            COOKIE, text, max_age=int(COOKIE_SECONDS), path="/", httponly=True, samesite="Strict", secure=self._secure
        )
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """Forget the cookie, here and there."""
        principal = self._authenticator.cookie(request.cookies.get(COOKIE))
        if principal is not None:
            self._tokens.revoke(principal.token_id)
        response = json_response({"logged_out": principal is not None})
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=self._secure)
        return response

    async def upload(self, request: web.Request) -> web.Response:
        """Keep a file: multipart, one field `file`."""
        principal = require(bearer_or_cookie(request, self._authenticator), ("chat",))
        limit = self._max_media_bytes
        if request.content_length is not None and request.content_length > limit + MULTIPART_OVERHEAD:
            raise TooLarge(f"a file has at most {limit} bytes here")
        data, mime, name = await read_file(request, limit)
        ref = await self._media.save(data, mime=mime, name=name, owner=principal.user)
        return json_response({"media_id": ref.media_id, "mime": ref.mime, "size": ref.size, "name": ref.name})

    async def download(self, request: web.Request) -> web.Response:
        """One's own file, as an attachment, whatever it claims to be."""
        principal: Principal = require(bearer_or_cookie(request, self._authenticator), ("chat", "read"))
        ref = await self._media.find(request.match_info["media_id"], principal.user)
        data = await self._media.read(ref, principal.user)
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in ref.name)
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(ref.name, safe='')}"
        return web.Response(body=data, headers={"Content-Type": ref.mime, "Content-Disposition": disposition})


async def read_file(request: web.Request, limit: int) -> tuple[bytes, str, str]:
    """Bytes, type and name of the field `file`. Raises BadParameters, TooLarge, TimedOut."""
    if not request.content_type.startswith("multipart/form-data"):
        raise BadParameters("send multipart/form-data with one field, file")
    try:
        async with asyncio.timeout(120):
            reader = await request.multipart()
            part = await reader.next()
            if not isinstance(part, BodyPartReader) or part.name != "file":
                raise BadParameters("send multipart/form-data with one field, file")
            data = bytearray()
            while chunk := await part.read_chunk(65_536):
                data += chunk
                if len(data) > limit:
                    raise TooLarge(f"a file has at most {limit} bytes here")
            if await reader.next() is not None:
                raise BadParameters("send multipart/form-data with one field, file")
            # some clients write a name percent-encoded (RFC 7578, 2), others as it is
            return bytes(data), part.headers.get("Content-Type", ""), unquote(part.filename or "file")
    except TimeoutError as error:
        raise TimedOut("the body came too slowly") from error
    except (ValueError, web.RequestPayloadError, HttpProcessingError) as error:
        raise BadParameters("the multipart body is malformed") from error
