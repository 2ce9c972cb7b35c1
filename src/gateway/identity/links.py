"""Which identity on a platform belongs to which user, and the codes that tie the two.

An identity is `channel:account:immutable-id`. It is tied by an admin (pairing) or by its own person,
who asks for a code as the user and sends `/link CODE` from the platform. Kept in `links.json`.
Wall-clock seconds are passed in as `now`.
"""

from bus.context import timestamp
from bus.errors import NotFound
from bus.events import JsonObject
from gateway.identity import codes
from gateway.identity.document import Document, rows

CODE_SECONDS = 600.0


class Links:
    """Ties by identity, and the codes under way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._ties = rows(document, "links")
        self._codes = rows(document, "codes")

    def user_of(self, identity: str) -> str | None:
        """The user whom `identity` belongs to."""
        row = self._ties.get(identity)
        return None if row is None else str(row["user"])

    def of_user(self, user: str) -> list[str]:
        """The identities of `user`."""
        return sorted(identity for identity, row in self._ties.items() if row["user"] == user)

    def tie(self, identity: str, user: str, *, by: str) -> str | None:
        """Let `identity` be `user`; whose it was before."""
        before = self.user_of(identity)
        self._ties[identity] = {"user": user, "by": by, "since": timestamp()}
        self._document.save()
        return before

    def untie(self, identity: str, user: str) -> None:
        """Take a tie away. Raises NotFound where it isn't this user's."""
        if self.user_of(identity) != user:
            raise NotFound("no such identity of yours")
        del self._ties[identity]
        self._document.save()

    def forget(self, user: str) -> None:
        """Take all of a user's ties and codes away."""
        for identity in self.of_user(user):
            del self._ties[identity]
        for code in [code for code, row in self._codes.items() if row["user"] == user]:
            del self._codes[code]
        self._document.save()

    def offer(self, user: str, now: float) -> JsonObject:
        """A code for `user` to send from the platform; it replaces the one before."""
        for code in [c for c, row in self._codes.items() if row["user"] == user or row["until"] <= now]:
            del self._codes[code]
        code = codes.new_code()
        self._codes[code] = {"user": user, "until": now + CODE_SECONDS}
        self._document.save()
        return {"code": codes.shown(code), "expires_at": timestamp(now + CODE_SECONDS)}

    def redeem(self, text: str, identity: str, now: float) -> tuple[str, str | None]:
        """Tie `identity` to the maker of the code: that user, and whose it was before. Raises NotFound."""
        code = codes.read(text)
        row = self._codes.pop(code, None)
        if row is None:
            raise NotFound("no such code")
        if row["until"] <= now:
            self._document.save()
            raise NotFound("no such code")
        return str(row["user"]), self.tie(identity, str(row["user"]), by="link")
