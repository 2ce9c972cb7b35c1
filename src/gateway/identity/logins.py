"""One-time codes for the browser: from the start of the gateway, `user invite`, or an admin.

Long and random (they travel in a link's fragment, nobody types them), kept by their hash in
`logins.json` so that an invitation survives a restart. Wall-clock seconds are passed in as `now`.
"""

import hashlib
import secrets

from bus.errors import NotAuthenticated
from bus.events import JsonObject
from gateway.identity.document import Document, rows

START_SECONDS = 600.0
INVITE_SECONDS = 86_400.0
COOKIE_SECONDS = 30 * 86_400.0
_KEPT = 1000


class Logins:
    """Codes that were not used yet."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._rows = rows(document, "logins")

    def create(self, user: str, now: float, *, seconds: float) -> str:
        """A code that lets its first user in as `user`, for `seconds`."""
        code = secrets.token_urlsafe(24)
        for key in [key for key, row in self._rows.items() if row["until"] <= now]:
            del self._rows[key]
        while len(self._rows) >= _KEPT:
            del self._rows[next(iter(self._rows))]
        self._rows[_digest(code)] = {"user": user, "until": now + seconds}
        self._document.save()
        return code

    def redeem(self, code: str, now: float) -> str:
        """The user; the code is spent. Raises NotAuthenticated for a wrong, spent or late one."""
        row: JsonObject | None = self._rows.pop(_digest(code), None)
        if row is None:
            raise NotAuthenticated("this login code is wrong, used up or too old")
        self._document.save()
        if row["until"] <= now:
            raise NotAuthenticated("this login code is wrong, used up or too old")
        return str(row["user"])

    def forget(self, user: str) -> None:
        """Withdraw a user's codes."""
        for key in [key for key, row in self._rows.items() if row["user"] == user]:
            del self._rows[key]
        self._document.save()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
