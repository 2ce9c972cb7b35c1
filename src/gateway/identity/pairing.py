"""Unknown senders who ask to be let in: a code each, ten minutes, three at a time for an account.

The sender is shown the code at most once in ten minutes; an admin approves it, once. Kept in
`pairing.json`, so that `gateway pair approve` works on a stopped gateway too. Wall-clock seconds
are passed in as `now`. Whom an approved code makes the sender is the gatekeeper's matter.
"""

from dataclasses import dataclass
from typing import Any

from bus.context import timestamp
from bus.errors import NotFound
from bus.events import JsonObject
from gateway.identity import codes
from gateway.identity.document import Document, rows

CODE_SECONDS = 600.0
PENDING_PER_ACCOUNT = 3


@dataclass(frozen=True, slots=True)
class Asking:
    """A sender who waits. `until` in seconds since the epoch."""

    code: str
    channel: str
    account: str
    peer: str
    name: str
    until: float

    @property
    def identity(self) -> str:
        """`channel:account:peer`."""
        return f"{self.channel}:{self.account}:{self.peer}"

    def public(self) -> JsonObject:
        """As `pairing.list` shows it."""
        return {
            "code": codes.shown(self.code), "channel": self.channel, "peer_id": self.peer, "name": self.name,
            "expires_at": timestamp(self.until),
        }  # fmt: skip


class Pairing:
    """Codes under way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._rows = rows(document, "pending")

    def ask(self, channel: str, account: str, peer: str, name: str, now: float) -> Asking | None:
        """A code for this sender, to be shown to him; None where he has one, or too many wait."""
        self._expire(now)
        waiting = [row for row in self._rows.values() if (row["channel"], row["account"]) == (channel, account)]
        if any(row["peer"] == peer for row in waiting) or len(waiting) >= PENDING_PER_ACCOUNT:
            return None
        code = codes.new_code()
        row: dict[str, Any] = {
            "channel": channel, "account": account, "peer": peer, "name": name[:64], "until": now + CODE_SECONDS,
        }  # fmt: skip
        self._rows[code] = row
        self._document.save()
        return Asking(code, **row)

    def _expire(self, now: float) -> None:
        for code in [code for code, row in self._rows.items() if row["until"] <= now]:
            del self._rows[code]

    def pending(self, now: float) -> list[Asking]:
        """Who waits, oldest first."""
        return [Asking(code, **row) for code, row in self._rows.items() if row["until"] > now]

    def find(self, text: str, now: float) -> Asking:
        """The sender behind a code. Raises NotFound for a wrong, spent or late one."""
        code = codes.read(text)
        row = self._rows.get(code)
        if row is None or row["until"] <= now:
            raise NotFound("no such code, or it is spent or too old")
        return Asking(code, **row)

    def take(self, text: str, now: float) -> Asking:
        """The same, and the code is spent."""
        found = self.find(text, now)
        del self._rows[found.code]
        self._document.save()
        return found
