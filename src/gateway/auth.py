"""Who is asking: from a header, a first request or a cookie to a `Principal`, and whether he still may.

Above: the listener and the handlers. Below: the tokens. Authority comes from the stored token and
never from what a client says about itself; a token in a URL is refused whatever it is worth.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from bus.errors import Forbidden, NotAuthenticated, TokenExpired
from bus.events import Actor
from gateway.identity.tokens import Token, Tokens

COOKIE = "gateway_session"
_TOKEN_NAMES = frozenset({
    "token", "access_token", "accesstoken", "auth", "authorization", "api_key", "apikey", "api-key", "key", "bearer",
    "jwt", "secret", "password",
})  # fmt: skip
_TOKEN_LOOK = re.compile(r"gw_[0-9a-z]{12}\.")


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or program that was let in. `fingerprint` recognises the secret it came with."""

    user: str
    role: str
    scopes: frozenset[str]
    token_id: str
    fingerprint: str = ""
    token_name: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether an admin's methods are open to it."""
        return "admin" in self.scopes

    def actor(self, *, channel: str = "websocket", language: str = "en") -> Actor:
        """The same towards the agent."""
        return Actor(user=self.user, role=self.role, scopes=self.scopes, channel=channel, language=language)


class Authenticator:
    """Lets principals in and checks them again. `now` gives wall-clock seconds."""

    def __init__(self, tokens: Tokens, now: Callable[[], float] = time.time) -> None:
        self._tokens = tokens
        self._now = now

    def token(self, text: object) -> Principal:
        """The bearer of a token. Raises NotAuthenticated (1001), TokenExpired (2001)."""
        found = self._tokens.verify(text, self._now())
        return _principal(found, Tokens.fingerprint(str(text)))

    def header(self, headers: Mapping[str, str]) -> Principal | None:
        """The bearer named in `Authorization`; None without the header. Raises NotAuthenticated, TokenExpired."""
        text = headers.get("Authorization")
        if text is None:
            return None
        scheme, _, value = text.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated("only bearer tokens are known here")
        return self.token(value.strip())

    def cookie(self, value: str | None) -> Principal | None:
        """Who logged in with the browser; None without a cookie, or with one that is worth nothing."""
        if not value:
            return None
        try:
            return self.token(value)
        except (NotAuthenticated, TokenExpired):
            return None

    def recheck(self, principal: Principal) -> None:
        """Raises NotAuthenticated or TokenExpired where the token is worth nothing any more."""
        self._tokens.current(principal.token_id, self._now(), secret_hash=principal.fingerprint)


def _principal(token: Token, fingerprint: str) -> Principal:
    return Principal(token.user, token.role, token.scopes, token.token_id, fingerprint, token.name)


def require(principal: Principal | None, any_of: Iterable[str]) -> Principal:
    """The principal, if it holds one of the scopes. Raises NotAuthenticated, Forbidden (1002)."""
    if principal is None:
        raise NotAuthenticated("authenticate first")
    wanted = frozenset(any_of)
    if wanted and not wanted & principal.scopes:
        raise Forbidden(f"this needs the scope {' or '.join(sorted(wanted))}")
    return principal


def refuse_token_in_url(query: str) -> None:
    """Raises NotAuthenticated where the query looks as if it carried a token; its value is named nowhere."""
    if not query:
        return
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() in _TOKEN_NAMES or _TOKEN_LOOK.match(value):
            raise NotAuthenticated("a token is never sent in a URL: use the Authorization header")
