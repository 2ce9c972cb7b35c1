"""What people prefer: for now the language in which they are spoken to. Kept in `preferences.json`."""

from bus.errors import BadParameters
from gateway.identity.document import Document, rows

LANGUAGES = ("en", "zh")


class Preferences:
    """By user."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._languages = rows(document, "languages")

    def language(self, user: str) -> str | None:
        """The language that `user` chose, if he did."""
        return self._languages.get(user)

    def choose_language(self, user: str, language: str) -> None:
        """Raises BadParameters for one we do not speak."""
        if language not in LANGUAGES:
            raise BadParameters(f"/language {'|'.join(LANGUAGES)}")
        self._languages[user] = language
        self._document.save()

    def forget(self, user: str) -> None:
        """The user is gone."""
        self._languages.pop(user, None)
        self._document.save()
