"""What people prefer: for now the language in which they are spoken to. Kept in `preferences.json`.

Also where a speaker lends his bridge to a group (`/bridge on`), which lasts until he takes it back.
"""

from bus.errors import BadParameters
from bus.keys import SessionKey
from gateway.identity.document import Document, rows

LANGUAGES = ("en", "zh")


class Preferences:
    """By user."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._languages = rows(document, "languages")
        self._lent = rows(document, "lent")

    def language(self, user: str) -> str | None:
        """The language that `user` chose, if he did."""
        return self._languages.get(user)

    def choose_language(self, user: str, language: str) -> None:
        """Raises BadParameters for one we do not speak."""
        if language not in LANGUAGES:
            raise BadParameters(f"/language {'|'.join(LANGUAGES)}")
        self._languages[user] = language
        self._document.save()

    def lends(self, user: str, group: SessionKey) -> bool:
        """Whether `user` lets his bridge's tools be used in `group`."""
        return group.identity in self._lent.get(user, ())

    def lend(self, user: str, group: SessionKey, lend: bool) -> None:
        """Lend, or take back."""
        lent = [identity for identity in self._lent.get(user, ()) if identity != group.identity]
        self._lent[user] = [*lent, group.identity] if lend else lent
        self._document.save()

    def forget(self, user: str) -> None:
        """The user is gone."""
        self._languages.pop(user, None)
        self._lent.pop(user, None)
        self._document.save()
