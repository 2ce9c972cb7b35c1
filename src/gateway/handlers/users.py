"""`user.*`, `identity.*`, `pairing.*`: people, their accounts on platforms, and who asks to be let in."""

import time
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from bus.context import timestamp
from bus.errors import BadParameters, Forbidden, GatewayError, NotFound
from bus.events import JsonObject
from bus.keys import user_id
from gateway.handlers.belongings import Belongings
from gateway.handlers.call import Call, Nothing, Params
from gateway.handlers.dispatch import Method, method
from gateway.handlers.letting_go import LettingGo
from gateway.handlers.ports import Audit
from gateway.identity.gatekeeper import Gate
from gateway.identity.links import Links
from gateway.identity.logins import INVITE_SECONDS, Logins
from gateway.identity.pairing import Pairing
from gateway.identity.preferences import Preferences
from gateway.identity.roles import ROLES, checked_role, may_grant, stronger
from gateway.identity.tries import Tries
from gateway.identity.users import User, Users

Name = Annotated[str, Field(min_length=1, max_length=128)]
Code = Annotated[str, Field(min_length=1, max_length=64)]


class Add(Params):
    user: Name
    role: Name = "user"


class One(Params):
    user: Name


class Unlink(Params):
    identity: Annotated[str, Field(min_length=1, max_length=512)]


class Approve(Params):
    code: Code
    user: Name | None = None


class Deny(Params):
    code: Code


class UserMethods:
    """The family. `url` gives the web address that an invitation leads to."""

    def __init__(
        self, *, users: Users, links: Links, pairing: Pairing, logins: Logins, gate: Gate, letting_go: LettingGo,
        belongings: Belongings,
        preferences: Preferences, audit: Audit | None, url: Callable[[], str],
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._users = users
        self._links = links
        self._pairing = pairing
        self._logins = logins
        self._gate = gate
        self._letting_go = letting_go
        self._belongings = belongings
        self._preferences = preferences
        self._audit = audit
        self._url = url
        self._now = now
        self._tries = Tries()

    def table(self) -> list[Method]:
        return [
            method("user.add", "admin", Add, self.add),
            method("user.list", "admin", Nothing, self.list),
            method("user.remove", "admin", One, self.remove),
            method("user.invite", "admin", One, self.invite),
            method("identity.link", "chat", Nothing, self.link),
            method("identity.list", "chat read", Nothing, self.identities),
            method("identity.unlink", "chat", Unlink, self.unlink),
            method("pairing.list", "admin", Nothing, self.pending),
            method("pairing.approve", "admin", Approve, self.approve),
            method("pairing.deny", "admin", Deny, self.deny),
        ]

    async def add(self, call: Call, params: Add) -> JsonObject:
        """Make a user."""
        role = checked_role(params.role)
        self._check(call, "user.add", role, params.user)
        made = self._users.add(params.user, role)
        self._note("user.add", call, of=made.user, role=made.role)
        there = await self._belongings.sessions_of(made.user)  # of a sender who was let in without being made a user
        return made.public() | ({"sessions": there} if there else {})

    async def list(self, call: Call, params: Nothing) -> JsonObject:
        """All users."""
        return {"users": [u.public() | {"identities": self._links.of_user(u.user)} for u in self._users.all()]}

    async def remove(self, call: Call, params: One) -> JsonObject:
        """Remove a user with all that is his: tokens, links, bridges, sessions, memories, files; for good."""
        found = self._users.get(params.user)
        if found is None and not await self._belongings.sessions_of(params.user):
            raise NotFound("there is no such user")
        found = found or User(params.user, "user", None)  # a sender who was let in, or was in the configuration
        self._check(call, "user.remove", found.role, found.user)
        if found.user == call.who.user:
            raise Forbidden("nobody removes himself")
        if self._users.configured(found.user) and found.created_at is None:
            raise BadParameters("a user of the configuration is removed there")
        self._links.forget(found.user)
        self._logins.forget(found.user)
        self._preferences.forget(found.user)
        await self._letting_go.user(found.user)
        if not self._users.configured(found.user):  # he stays what the configuration makes of him, with what is his
            await self._belongings.forget(found.user, call.who.actor())
        if found.created_at is not None:
            self._users.remove(found.user)  # last: where the disk refuses before, this can be asked for again
        self._note("user.remove", call, of=found.user)
        return {"user": found.user, "removed": True}

    async def invite(self, call: Call, params: One) -> JsonObject:
        """A link that lets the user into the web chat, once."""
        user = str(user_id(params.user))
        self._check(call, "user.invite", self._users.role_of(user), user)
        self._users.ensure(user)
        code = self._logins.create(user, self._now(), seconds=INVITE_SECONDS)
        self._note("user.invite", call, of=user)
        return {
            "user": user, "code": code, "url": f"{self._url()}/#login={code}",
            "expires_at": timestamp(self._now() + INVITE_SECONDS),
        }  # fmt: skip

    async def link(self, call: Call, params: Nothing) -> JsonObject:
        """A code that ties an account on a platform to you, sent from there as `/link CODE`."""
        who, role = call.who, self._users.role_of(call.who.user)
        if stronger(who.role, role) != who.role or ROLES[role] - who.scopes:
            # that account will hold all that the role does
            self._note("identity.link", call, refused=True, of=who.user, role=role)
            raise Forbidden("a token that holds less than you may ties no account to you")
        return self._links.offer(call.who.user, self._now())

    async def identities(self, call: Call, params: Nothing) -> JsonObject:
        """Your accounts on platforms."""
        return {"identities": self._links.of_user(call.who.user)}

    async def unlink(self, call: Call, params: Unlink) -> JsonObject:
        """Untie an account."""
        self._gate.release(params.identity, call.who.user)
        self._note("identity.unlink", call, identity=params.identity)
        return {"unlinked": True}

    async def pending(self, call: Call, params: Nothing) -> JsonObject:
        """Who asks to be let in."""
        return {"pending": [asking.public() for asking in self._pairing.pending(self._now())]}

    async def approve(self, call: Call, params: Approve) -> JsonObject:
        """Let a sender in by his code."""
        if params.user is not None:
            user_id(params.user)
            self._check(call, "pairing.approve", self._users.role_of(params.user), params.user)
        else:
            self._check(call, "pairing.approve", "user", "")
        self._guess(call, params.code)
        asking = self._pairing.take(params.code, self._now())
        user = self._gate.approve(asking, params.user)
        self._note("pairing.approve", call, of=user, identity=asking.identity)
        return {"user": user}

    async def deny(self, call: Call, params: Deny) -> JsonObject:
        """Send a sender away."""
        self._guess(call, params.code)
        asking = self._pairing.take(params.code, self._now())
        self._note("pairing.deny", call, identity=asking.identity)
        return {"denied": True}

    def _guess(self, call: Call, code: str) -> None:
        """Five wrong codes, then a lock."""
        moment = time.monotonic()
        self._tries.check(call.who.user, moment)
        try:
            self._pairing.find(code, self._now())
        except GatewayError:
            self._tries.wrong(call.who.user, moment)
            raise

    def _check(self, call: Call, action: str, role: str, of: str) -> None:
        try:
            may_grant(call.who.role, call.who.scopes, role, ROLES[role])
        except Forbidden:
            self._note(action, call, refused=True, of=of, role=role)
            raise

    def _note(self, action: str, call: Call, **details: object) -> None:
        if self._audit is not None:
            self._audit.record(action, user=call.who.user, **details)
