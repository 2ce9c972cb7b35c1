"""The stores of `gateway/identity`, opened together under `$GATEWAY_HOME/identity`."""

from dataclasses import dataclass
from pathlib import Path

from bus.events import Actor
from gateway.auth import Authenticator
from gateway.identity.document import Document
from gateway.identity.links import Links
from gateway.identity.logins import Logins
from gateway.identity.pairing import Pairing
from gateway.identity.preferences import Preferences
from gateway.identity.roles import scopes_of, stronger
from gateway.identity.tokens import Tokens
from gateway.identity.users import Users
from gateway.settings_server import AuthSettings


@dataclass(frozen=True, slots=True)
class People:
    """All that is known of people."""

    users: Users
    tokens: Tokens
    links: Links
    pairing: Pairing
    logins: Logins
    preferences: Preferences
    authenticator: Authenticator

    def actor_of(self, user: str) -> Actor | None:
        """The user as he is today, for what is done in his name while he is away; None where he is gone."""
        if self.users.get(user) is None and not self.tokens.of_user(user):
            return None
        role = self.users.role_of(user)
        return Actor(user=user, role=role, scopes=scopes_of(role), language=self.preferences.language(user) or "en")

    def may_use_tools(self, actor: Actor) -> bool:
        """Whether somebody who was let in earlier may still use tools: not removed since, nor made a viewer."""
        known = self.users.get(actor.user)
        if known is None and not actor.identity and not self.tokens.has_any(actor.user):
            return False
        return "tools" in scopes_of(known.role if known is not None else "user")

    @classmethod
    def open(cls, home: Path, settings: AuthSettings) -> "People":
        """Read the files. Raises CorruptDocument."""
        folder = home / "identity"
        configured: dict[str, str] = {}
        for entry in settings.tokens:
            configured[entry.user] = stronger(entry.role, configured.get(entry.user, entry.role))
        tokens = Tokens(Document(folder / "tokens.json"), settings.tokens)
        return cls(
            users=Users(Document(folder / "users.json"), configured),
            tokens=tokens, links=Links(Document(folder / "links.json")),
            pairing=Pairing(Document(folder / "pairing.json")), logins=Logins(Document(folder / "logins.json")),
            preferences=Preferences(Document(folder / "preferences.json")), authenticator=Authenticator(tokens),
        )  # fmt: skip
