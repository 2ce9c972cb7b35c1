"""`token.*` for admins: making, listing, rotating and revoking tokens.

Nobody hands out more than he holds, and only an owner touches the tokens of admins and owners. A
revoked token's sockets are closed (4501) before the reply leaves, its bridge is let go and the turns
it started are stopped.
"""

import time
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from bus.errors import Forbidden
from bus.events import JsonObject
from gateway.handlers.call import Call, Nothing, Params
from gateway.handlers.dispatch import Method, method
from gateway.handlers.durations import seconds
from gateway.handlers.letting_go import LettingGo
from gateway.handlers.ports import Audit
from gateway.identity.roles import may_grant, scopes_of
from gateway.identity.tokens import Token, Tokens
from gateway.identity.users import Users

Name = Annotated[str, Field(min_length=1, max_length=128)]
Span = Annotated[str, Field(min_length=1, max_length=32)] | int


class Create(Params):
    user: Name
    role: Name
    scopes: list[Name] | None = None
    ttl: Span | None = None
    name: Annotated[str, Field(max_length=128)] | None = None


class Rotate(Params):
    id: Name
    grace: Span | None = None


class One(Params):
    id: Name


class TokenMethods:
    """The family. `rotated` is told of new secrets, `now` gives wall-clock seconds."""

    def __init__(
        self, *, tokens: Tokens, users: Users, letting_go: LettingGo, audit: Audit | None,
        rotated: Callable[[str, str], None] | None = None, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._rotated = rotated
        self._tokens = tokens
        self._users = users
        self._letting_go = letting_go
        self._audit = audit
        self._now = now

    def table(self) -> list[Method]:
        return [
            method("token.create", "admin", Create, self.create),
            method("token.list", "admin", Nothing, self.list),
            method("token.rotate", "admin", Rotate, self.rotate),
            method("token.revoke", "admin", One, self.revoke),
        ]

    async def create(self, call: Call, params: Create) -> JsonObject:
        """Make a token; its text is shown this once."""
        ttl = None if params.ttl is None else seconds(params.ttl)
        self._check(call, "token.create", params.role, scopes_of(params.role, params.scopes), params.user)
        known = self._users.get(params.user)
        if known is not None:
            self._check(call, "token.create", known.role, frozenset(), params.user)
        token, text = self._tokens.create(
            params.user, params.role, self._now(), scopes=params.scopes, ttl=ttl, name=params.name or ""
        )
        self._users.ensure(params.user, params.role)
        self._note("token.create", call, token=token)
        return _with_text(token, text)

    async def list(self, call: Call, params: Nothing) -> JsonObject:
        """All tokens, without their secrets."""
        return {"tokens": [token.public() for token in self._tokens.all()]}

    async def rotate(self, call: Call, params: Rotate) -> JsonObject:
        """Give a token a new secret under the same id."""
        token = self._tokens.get(params.id)
        self._check(call, "token.rotate", token.role, token.scopes, token.user)
        grace = 86_400.0 if params.grace is None else seconds(params.grace)
        token, text = self._tokens.rotate(params.id, self._now(), grace=grace)
        if self._rotated is not None:
            self._rotated(token.token_id, text)
        self._note("token.rotate", call, token=token)
        return _with_text(token, text)

    async def revoke(self, call: Call, params: One) -> JsonObject:
        """Make a token worthless, now."""
        token = self._tokens.get(params.id)
        self._check(call, "token.revoke", token.role, frozenset(), token.user)
        self._tokens.revoke(params.id)
        self._note("token.revoke", call, token=token)
        if params.id == call.who.token_id:
            call.after_reply.append(lambda: self._letting_go.later(params.id))
        else:
            await self._letting_go.token(params.id)
        return {"id": params.id, "revoked": True}

    def _check(self, call: Call, action: str, role: str, scopes: frozenset[str], user: str) -> None:
        try:
            may_grant(call.who.role, call.who.scopes, role, scopes)
        except Forbidden:
            if self._audit is not None:
                self._audit.record(action, user=call.who.user, refused=True, role=role, of=user)
            raise

    def _note(self, action: str, call: Call, *, token: Token) -> None:
        if self._audit is not None:
            self._audit.record(action, user=call.who.user, id=token.token_id, of=token.user, role=token.role)


def _with_text(token: Token, text: str) -> JsonObject:
    return {"id": token.token_id, "token": text, "user": token.user, "role": token.role}
