"""The users that somebody made: name, role, since when. A sender who was merely admitted needs no entry.

Kept in `users.json`. Knows nothing of tokens or links; `handlers/users.py` keeps the three in step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bus.context import timestamp
from bus.errors import Conflict, NotFound
from bus.events import JsonObject
from bus.keys import user_id
from gateway.identity.document import Document, rows
from gateway.identity.roles import checked_role


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
    """All users by name. `configured` are those of the configuration's tokens, name to role."""

    def __init__(self, document: Document, configured: Mapping[str, str] | None = None) -> None:
        self._document = document
        self._configured = configured or {}
        self._rows = rows(document, "users")

    def get(self, user: str) -> User | None:
        """The user of this name, or None."""
        row = self._rows.get(user)
        return None if row is None else User(user, row["role"], row["created_at"])

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

    def ensure(self, user: str, role: str = "user") -> User:
        """The user of this name, made now if need be; an existing one keeps his role."""
        return self.get(str(user_id(user))) or self.add(user, role)

    def remove(self, user: str) -> User:
        """Forget the user. Raises NotFound."""
        found = self.get(user)
        if found is None:
            raise NotFound(f"there is no user {user}")
        del self._rows[user]
        self._document.save()
        return found

    def all(self) -> list[User]:
        """Everybody, by name."""
        named = {name: User(name, role, None) for name, role in self._configured.items()}
        made = {name: User(name, row["role"], row["created_at"]) for name, row in self._rows.items()}
        return [user for _, user in sorted((named | made).items())]
