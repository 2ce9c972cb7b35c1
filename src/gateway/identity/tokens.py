"""Tokens: `<id>.<secret>`, of which only the SHA-256 of the secret is kept.

The secret has 256 random bits, so a fast hash is enough. Comparison is on digests, in constant
time, and an unknown id costs the same work as a known one. Kept in `tokens.json`; static tokens
come from the settings and live in memory only. Wall-clock seconds are passed in as `now`; a clock
set back revives an expired token by a minute at most, since the latest time seen is remembered.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from bus.context import parse_timestamp, timestamp
from bus.errors import BadParameters, NotAuthenticated, NotFound, TokenExpired
from bus.events import JsonObject
from bus.keys import user_id
from gateway.identity.document import Document, rows
from gateway.identity.roles import scopes_of
from gateway.settings_server import StaticToken

_ID = re.compile(r"gw_[0-9a-z]{12}\Z")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_NOBODY = hashlib.sha256(b"nobody").hexdigest()
MAX_TOKEN_CHARS = 512
CLOCK_TOLERANCE = 60.0


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says about its bearer. `expires_at` in seconds since the epoch, None for never."""

    token_id: str
    user: str
    role: str
    scopes: frozenset[str]
    name: str = ""
    created_at: str = ""
    expires_at: float | None = None
    kind: str = "api"
    """`api`, `static` (from the settings), or `web` (behind a cookie)."""

    def public(self) -> JsonObject:
        """As `token.list` shows it: never the secret."""
        return {
            "id": self.token_id, "user": self.user, "role": self.role, "scopes": sorted(self.scopes),
            "name": self.name, "kind": self.kind, "created_at": self.created_at or None,
            "expires_at": None if self.expires_at is None else timestamp(self.expires_at),
        }  # fmt: skip


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Tokens:
    """All tokens by id."""

    def __init__(self, document: Document, static: Iterable[StaticToken] = ()) -> None:
        self._document = document
        self._rows = rows(document, "tokens")
        self._static = {
            _digest(entry.token.get_secret_value()): Token(
                f"static_{number}", entry.user, entry.role, scopes_of(entry.role, entry.scopes), kind="static",
                name="auth.tokens",
            )
            for number, entry in enumerate(static)
        }  # fmt: skip
        self._static_by_id = {token.token_id: token for token in self._static.values()}
        self._static_users = frozenset(token.user for token in self._static.values())
        self._latest = 0.0

    def verify(self, text: object, now: float) -> Token:
        """The token that `text` is. Raises NotAuthenticated (1001), or TokenExpired (2001) past its time."""
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TOKEN_CHARS:
            raise NotAuthenticated("no valid token")
        token_id, _, secret = text.partition(".")
        row = self._rows.get(token_id) if _ID.match(token_id) else None
        given = _digest(secret).encode()
        right = hmac.compare_digest(given, (row["hash"] if row else _NOBODY).encode())
        previous = (row or {}).get("previous") or {}
        was_right = hmac.compare_digest(given, previous.get("hash", _NOBODY).encode())
        static = self._static.get(_digest(text))
        if static is not None:
            return static
        if row is None or not (right or was_right):
            raise NotAuthenticated("no valid token")
        if not right and self._passed(previous["until"], now):
            raise TokenExpired("this token was replaced, and its time of grace is over")
        found = self._token(token_id, row)
        if found.expires_at is not None and self._passed(found.expires_at, now):
            raise TokenExpired("this token has expired")
        return found

    def current(self, token_id: str, now: float, *, secret_hash: str = "") -> Token:
        """The token of this id as it is now, for a bearer who was let in before.

        `secret_hash` is the fingerprint he came with (see `fingerprint`). Raises NotAuthenticated
        where it was revoked, TokenExpired where its time, or its time of grace, is over.
        """
        static = self._static_by_id.get(token_id)
        if static is not None:
            return static
        row = self._rows.get(token_id)
        if row is None:
            raise NotAuthenticated("this token was revoked")
        if secret_hash and row["hash"] != secret_hash:
            previous = row.get("previous") or {}
            if previous.get("hash") != secret_hash or self._passed(previous["until"], now):
                raise TokenExpired("this token was replaced, and its time of grace is over")
        found = self._token(token_id, row)
        if found.expires_at is not None and self._passed(found.expires_at, now):
            raise TokenExpired("this token has expired")
        return found

    @staticmethod
    def fingerprint(text: str) -> str:
        """What may be remembered of a presented token, to recognise it later: the hash of its secret."""
        return _digest(text.partition(".")[2])

    def _passed(self, moment: float, now: float) -> bool:
        self._latest = max(self._latest, now)
        return max(now, self._latest - CLOCK_TOLERANCE) >= moment

    def _token(self, token_id: str, row: JsonObject) -> Token:
        return Token(
            token_id, row["user"], row["role"], frozenset(row["scopes"]), row.get("name", ""), row["created_at"],
            row.get("expires_at"), row.get("kind", "api"),
        )  # fmt: skip

    def create(
        self, user: str, role: str, now: float, *, scopes: Iterable[str] | None = None,
        ttl: float | None = None, name: str = "", kind: str = "api",
    ) -> tuple[Token, str]:  # fmt: skip
        """Make a token; the second value is its text, seen here and never again. `ttl` in seconds."""
        held = scopes_of(role, scopes)
        if ttl is not None and ttl <= 0:
            raise BadParameters("a time to live is longer than nothing")
        self._sweep(now)
        token_id = "gw_" + "".join(secrets.choice(_ALPHABET) for _ in range(12))
        secret = secrets.token_urlsafe(32)
        row: JsonObject = {
            "user": str(user_id(user)), "role": role, "scopes": sorted(held), "name": name, "kind": kind,
            "hash": _digest(secret), "created_at": timestamp(now),
        }  # fmt: skip
        if ttl is not None:
            row["expires_at"] = now + ttl
        self._rows[token_id] = row
        self._document.save()
        return self._token(token_id, row), f"{token_id}.{secret}"

    def _sweep(self, now: float) -> None:
        """Forget the web logins whose time is over: nobody would ever look for them."""
        for token_id in [i for i, r in self._rows.items() if r.get("kind") == "web" and r["expires_at"] < now - 86400]:
            del self._rows[token_id]

    def rotate(self, token_id: str, now: float, *, grace: float = 86_400.0) -> tuple[Token, str]:
        """A new secret under the same id; the old one works for `grace` more seconds. Raises NotFound."""
        if token_id in self._static_by_id:
            raise BadParameters("a token of the configuration is changed there")
        row = self._rows.get(token_id)
        if row is None:
            raise NotFound("there is no such token")
        if grace < 0:
            raise BadParameters("a time of grace cannot be negative")
        secret = secrets.token_urlsafe(32)
        row["previous"] = {"hash": row["hash"], "until": now + grace}
        row["hash"] = _digest(secret)
        self._document.save()
        return self._token(token_id, row), f"{token_id}.{secret}"

    def revoke(self, token_id: str) -> Token:
        """Make the token worthless now. Raises NotFound."""
        if token_id in self._static_by_id:
            raise BadParameters("a token of the configuration is removed there")
        row = self._rows.get(token_id)
        if row is None:
            raise NotFound("there is no such token")
        found = self._token(token_id, row)
        del self._rows[token_id]
        self._document.save()
        return found

    def get(self, token_id: str) -> Token:
        """The token of this id, whatever its state. Raises NotFound."""
        row = self._rows.get(token_id)
        if row is None:
            static = self._static_by_id.get(token_id)
            if static is None:
                raise NotFound("there is no such token")
            return static
        return self._token(token_id, row)

    def of_user(self, user: str) -> list[Token]:
        """Every token of `user`, the configured ones too."""
        return [token for token in self.all() if token.user == user]

    def has_any(self, user: str) -> bool:
        """Whether `of_user` would find one: asked for every tool call."""
        return user in self._static_users or any(row["user"] == user for row in self._rows.values())

    def all(self) -> list[Token]:
        """Every token, oldest first."""
        made = [self._token(token_id, row) for token_id, row in self._rows.items()]
        return sorted(made, key=lambda t: parse_timestamp(t.created_at)) + list(self._static_by_id.values())
