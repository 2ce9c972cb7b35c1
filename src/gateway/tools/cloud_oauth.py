"""Signing in at cloud MCP servers (`sign_in`): OAuth 2.1 as the MCP authorization specification has it.

The SDK's provider does discovery, registration, PKCE and refreshing inside its HTTP client; here is what it leaves
to the program: the tokens' file (0600, one per server), the address that the operator opens (log and `/status`),
and the answer that the browser brings to `GET /oauth/callback`. A server is connected to only when somebody has
signed in; where its tokens are refused later, it waits for the next sign-in. Above is `cloud_mcp.py`.
Source: MCP specification, "Authorization"; RFC 6749, 7591, 7636, 8414, 9207, 9728.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from bridge.settings import McpServerSettings
from bus.errors import GatewayError
from bus.events import JsonObject
from gateway.identity.document import write_private

if TYPE_CHECKING:
    from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

log = logging.getLogger("gateway.cloud_oauth")

CALLBACK = "/oauth/callback"
SIGN_IN_SECONDS = 600.0
AGAIN_SECONDS = 0.5
"""Before the next try at a server that fails; it doubles up to the longest."""
LONGEST_SECONDS = 30.0


class SignIn:
    """For all cloud servers. `url` is the gateway's own address, known when it listens."""

    def __init__(self, folder: Path, url: Callable[[], str]) -> None:
        self._folder = folder
        self._url = url
        self._waiting: dict[str, _Waiting] = {}
        self._lost: dict[str, asyncio.Event] = {}

    # ------------------------------------------------------------ for the servers

    async def ready(self, settings: McpServerSettings) -> None:
        """Returns when somebody has signed in at this server, at once where his tokens are kept."""
        self._lost.setdefault(settings.name, asyncio.Event())
        pause = AGAIN_SECONDS
        while not self._file(settings).tokens:
            try:
                async with asyncio.timeout(SIGN_IN_SECONDS):
                    await self._sign_in(settings)
            except TimeoutError:
                log.info("nobody signed in at %s in time; a new address follows", settings.name)
            except Exception as error:  # of a foreign server, in any form: it is told, and tried again
                log.warning("signing in at %s failed: %s", settings.name, _reason(error))
                await asyncio.sleep(pause)
                pause = min(LONGEST_SECONDS, pause * 2)
            finally:
                self._waiting.pop(settings.name, None)

    async def lost(self, settings: McpServerSettings) -> None:
        """Returns when the server refuses the tokens that there are."""
        event = self._lost[settings.name]
        await event.wait()
        event.clear()

    async def auth(self, settings: McpServerSettings) -> Any:
        """The `httpx2.Auth` of a connection: it refreshes tokens, and asks nobody."""

        async def nobody(url: str) -> None:
            self._file(settings).forget()
            self._lost.setdefault(settings.name, asyncio.Event()).set()
            raise PermissionError("sign in again")

        return await self._provider(settings, nobody, None)

    def pending(self) -> dict[str, str]:
        """Server → the address where the operator signs in."""
        return {name: waiting.address for name, waiting in self._waiting.items() if waiting.address}

    def answered(self, code: str, state: str, issuer: str | None) -> str | None:
        """The browser came back: the name of the server, or None where nobody waits for this `state`."""
        for name, waiting in self._waiting.items():
            known = waiting.state
            if known and secrets.compare_digest(known.encode(), state.encode()) and not waiting.answer.done():
                waiting.answer.set_result((code, state, issuer))
                return name
        return None

    # ------------------------------------------------------------ the flow

    async def _sign_in(self, settings: McpServerSettings) -> None:
        import httpx2

        waiting = self._waiting[settings.name] = _Waiting()

        async def show(url: str) -> None:
            waiting.state = parse_qs(urlsplit(url).query).get("state", [""])[0]
            waiting.address = url
            log.warning("the MCP server %s wants you to sign in: %s", settings.name, url)

        async def answer() -> "AuthorizationCodeResult":
            from mcp.client.auth import AuthorizationCodeResult

            code, state, issuer = await waiting.answer
            return AuthorizationCodeResult(code=code, state=state, iss=issuer)

        provider = await self._provider(settings, show, answer)
        headers = {name: secret.get_secret_value() for name, secret in settings.headers.items()}
        async with httpx2.AsyncClient(auth=provider, headers=headers, timeout=30.0) as client:
            hello: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            accept = {"accept": "application/json, text/event-stream"}
            async with client.stream("POST", str(settings.url), json=hello, headers=accept) as response:
                status = response.status_code
        if not self._file(settings).tokens:
            raise PermissionError(f"the server answered HTTP {status} and asked for no sign-in; remove `sign_in`")
        log.info("signed in at the MCP server %s", settings.name)

    async def _provider(
        self, settings: McpServerSettings, show: Callable[[str], Any], answer: Callable[[], Any] | None
    ) -> "OAuthClientProvider":
        from mcp.client.auth import OAuthClientProvider
        from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthMetadata
        from pydantic import AnyUrl

        wanted = settings.sign_in
        assert wanted is not None and settings.url is not None
        redirect = wanted.redirect_url or self._url() + CALLBACK
        file = self._file(settings)
        if answer is not None and not wanted.client_id and file.redirect != redirect:
            file.client = None  # registered for another address of ours
        if wanted.client_id:
            secret = wanted.client_secret.get_secret_value() if wanted.client_secret else None
            known = OAuthClientInformationFull(
                client_id=wanted.client_id, client_secret=secret, redirect_uris=[AnyUrl(redirect)],
                token_endpoint_auth_method="client_secret_post" if secret else "none",
            )  # fmt: skip
            file.client = known.model_dump(mode="json", exclude_none=True)
        metadata = OAuthClientMetadata(
            client_name="chat gateway", redirect_uris=[AnyUrl(redirect)], scope=" ".join(wanted.scopes) or None,
            application_type="native" if _is_local(redirect) else "web",
        )  # fmt: skip
        provider = OAuthClientProvider(
            settings.url, metadata, file, redirect_handler=show, callback_handler=answer or _nobody
        )
        file.redirect, file.context = redirect, provider.context
        if file.tokens:  # the SDK knows neither across restarts, and a refresh needs both
            provider.context.token_expiry_time = file.expires_at
            provider.context.oauth_metadata = OAuthMetadata.model_validate(file.endpoints) if file.endpoints else None
        return provider

    def _file(self, settings: McpServerSettings) -> "_Tokens":
        name = hashlib.sha256(f"{settings.name}\0{settings.url}".encode()).hexdigest()[:32]
        return _Tokens(self._folder / f"{name}.json")


class _Waiting:
    """A sign-in that is under way."""

    def __init__(self) -> None:
        self.address = ""
        self.state = ""
        self.answer: asyncio.Future[tuple[str, str, str | None]] = asyncio.get_running_loop().create_future()


class _Tokens:
    """What is known of one sign-in, on disk. Implements the SDK's `TokenStorage`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.context: Any = None
        try:
            found: JsonObject = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            found = {}
        self.tokens: JsonObject | None = found.get("tokens")
        self.client: JsonObject | None = found.get("client")
        self.endpoints: JsonObject | None = found.get("endpoints")
        self.redirect: str = found.get("redirect", "")
        self.expires_at: float | None = found.get("expires_at")

    async def get_tokens(self) -> "OAuthToken | None":
        from mcp.shared.auth import OAuthToken

        return OAuthToken.model_validate(self.tokens) if self.tokens else None

    async def set_tokens(self, tokens: "OAuthToken") -> None:
        self.tokens = tokens.model_dump(mode="json", exclude_none=True)
        self.expires_at = time.time() + tokens.expires_in if tokens.expires_in else None
        if self.context is not None and self.context.oauth_metadata is not None:
            self.endpoints = self.context.oauth_metadata.model_dump(mode="json", exclude_none=True)
        await asyncio.to_thread(self._save)

    async def get_client_info(self) -> "OAuthClientInformationFull | None":
        from mcp.shared.auth import OAuthClientInformationFull

        return OAuthClientInformationFull.model_validate(self.client) if self.client else None

    async def set_client_info(self, client_info: "OAuthClientInformationFull") -> None:
        self.client = client_info.model_dump(mode="json", exclude_none=True)
        await asyncio.to_thread(self._save)

    def forget(self) -> None:
        """The tokens are worth nothing any more; nor may our registration be, where the server forgot everything."""
        self.tokens = self.client = self.expires_at = None
        self._save()

    def _save(self) -> None:
        kept = {"tokens": self.tokens, "client": self.client, "endpoints": self.endpoints, "redirect": self.redirect,
                "expires_at": self.expires_at}  # fmt: skip
        write_private(self._path, orjson.dumps(kept))


async def _nobody() -> "AuthorizationCodeResult":
    raise PermissionError("sign in again")


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _reason(error: BaseException) -> str:
    """One line without what a server may have put into it: answers can hold tokens."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, GatewayError | PermissionError):
        return str(error)
    return type(error).__name__
