"""The stores of `gateway/identity`, opened together under `$GATEWAY_HOME/identity`."""

from dataclasses import dataclass
from pathlib import Path

from gateway.auth import Authenticator
from gateway.identity.document import Document
from gateway.identity.links import Links
from gateway.identity.logins import Logins
from gateway.identity.pairing import Pairing
from gateway.identity.preferences import Preferences
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

    @classmethod
    def open(cls, home: Path, settings: AuthSettings) -> "People":
        """Read the files. Raises CorruptDocument."""
        folder = home / "identity"
        tokens = Tokens(Document(folder / "tokens.json"), settings.tokens)
        return cls(
            users=Users(Document(folder / "users.json")), tokens=tokens, links=Links(Document(folder / "links.json")),
            pairing=Pairing(Document(folder / "pairing.json")), logins=Logins(Document(folder / "logins.json")),
            preferences=Preferences(Document(folder / "preferences.json")), authenticator=Authenticator(tokens),
        )  # fmt: skip
