"""The users that somebody made: name, role, since when. A sender who was merely admitted needs no entry.

Kept in `users.json`. Knows nothing of tokens or links; `handlers/users.py` keeps the three in step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bus.context import timestamp
from bus.errors import BadParameters, Conflict, NotFound
from bus.events import JsonObject
from bus.keys import user_id
from gateway.identity.document import Document, rows
from gateway.identity.roles import checked_role, stronger


@dataclass(frozen=True, slots=True)
class User:
    """`created_at` is RFC 3339; None for whom the configuration names in a token, and nobody made."""

    user: str
    role: str
    created_at: str | None

    def public(self) -> JsonObject:
        """As `user.list` shows it."""
        return {"user": self.user, "role": self.role, "created_at": self.created_at}


class Users:
    """All users by name. `configured` are those of the configuration's tokens, name to role.

    Who stands in both has the stronger role: nobody becomes less, and so open to lesser admins, by being added.
    """

    def __init__(self, document: Document, configured: Mapping[str, str] | None = None) -> None:
        self._document = document
        self._configured = configured or {}
        self._rows = rows(document, "users")

    def get(self, user: str) -> User | None:
        """The user of this name, or None."""
        row, configured = self._rows.get(user), self._configured.get(user)
        if row is None:
            return None if configured is None else User(user, configured, None)
        return User(user, stronger(row["role"], configured or row["role"]), row["created_at"])

    def configured(self, user: str) -> bool:
        """Whether the configuration names him, which no method changes."""
        return user in self._configured

    def role_of(self, user: str) -> str:
        """The role of `user`; `user` for those who were never given one."""
        found = self.get(user)
        return "user" if found is None else found.role

    def add(self, user: str, role: str = "user") -> User:
        """Make a user. Raises Conflict (3002) where the name is taken, BadParameters for a bad name or role."""
        checked_role(role)
        name = str(user_id(user))
        if name in self._rows:
            raise Conflict(f"the user {name} exists already")
        self._rows[name] = {"role": role, "created_at": timestamp()}
        self._document.save()
        return User(name, role, self._rows[name]["created_at"])

    def ensure(self, user: str, role: str | None = None) -> User:
        """The user of this name, made now if need be; an existing one keeps his role.

        One of the configuration is made too where `role` is more than he has there.
        """
        name = str(user_id(user))
        found = self.get(name)
        if found is None:
            return self.add(name, role or "user")
        if name in self._rows or role is None or stronger(found.role, role) == found.role:
            return found
        return self.add(name, role)

    def remove(self, user: str) -> User:
        """Forget the user. Raises NotFound, BadParameters for one who is in the configuration alone."""
        found = self.get(user)
        if found is None:
            raise NotFound(f"there is no user {user}")
        if user not in self._rows:
            raise BadParameters("a user of the configuration is removed there")
        del self._rows[user]
        self._document.save()
        return found

    def all(self) -> list[User]:
        """Everybody, by name."""
        found = map(self.get, sorted(self._configured.keys() | self._rows.keys()))
        return [user for user in found if user is not None]
