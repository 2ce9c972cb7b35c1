"""Pairing: a bridge without a token shows a code, a person who is logged in confirms it, the bridge gets a token.

Codes have 40 random bits, live ten minutes and are spent by the first yes; five wrong guesses lock the guesser
out. Pure but for randomness and time; `http` mounts `routes` around it.
"""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from bus.context import new_id, timestamp
from bus.errors import NotFound, RateLimited
from bus.events import JsonObject
from gateway.identity.codes import new_code, read, shown
from gateway.identity.tries import Tries
from gateway.tunnel.ports import TokenMaker

LIFETIME = 600.0
_WAITING = 200
_PER_ADDRESS = 10


@dataclass(slots=True)
class _Asking:
    code: str
    name: str
    address: str
    expires: float
    """Monotonic: a clock that is set ends no code, and keeps none."""
    token: str | None = None
    bridge_id: str = ""
    spent: bool = False


class Pairing:
    """The bridges that ask to be let in."""

    def __init__(self, tokens: TokenMaker | None) -> None:
        self._tokens = tokens
        self._asking: OrderedDict[str, _Asking] = OrderedDict()
        self._bridge_of: dict[str, str] = {}
        self._tries = Tries()

    def begin(self, name: str, system: str, address: str) -> JsonObject:
        """`{pair_id, code, expires_at}`. Raises RateLimited for an address that asks too often."""
        now = time.monotonic()
        for pair_id in [key for key, asking in self._asking.items() if asking.expires + LIFETIME < now]:
            del self._asking[pair_id]
        mine = sum(1 for asking in self._asking.values() if asking.address == address and asking.expires > now)
        if mine >= _PER_ADDRESS or len(self._asking) >= _WAITING:
            raise RateLimited("too many bridges ask to be paired", retry_after_ms=60_000)
        pair_id = secrets.token_urlsafe(18)
        label = (name.strip() or system.strip() or "bridge")[:64]
        asking = self._asking[pair_id] = _Asking(new_code(), label, address, now + LIFETIME)
        return {"pair_id": pair_id, "code": shown(asking.code), "expires_at": timestamp(time.time() + LIFETIME)}

    def poll(self, pair_id: str) -> tuple[Literal["pending", "confirmed", "gone", "unknown"], JsonObject]:
        """What the bridge is told; the token once."""
        asking = self._asking.get(pair_id)
        if asking is None:
            return "unknown", {}
        if asking.spent or (asking.token is None and asking.expires < time.monotonic()):
            return "gone", {}
        if asking.token is None:
            return "pending", {"status": "pending"}
        token, asking.token, asking.spent = asking.token, None, True
        return "confirmed", {"status": "confirmed", "token": token}

    def confirm(self, code: str, user: str) -> tuple[str, str, str]:
        """A person says yes: name, bridge id and token id. Raises NotFound, RateLimited."""
        now = time.monotonic()
        self._tries.check(user, now)
        wanted = read(code)
        for asking in self._asking.values():
            open_ = asking.token is None and not asking.spent and asking.expires > now
            if open_ and secrets.compare_digest(asking.code.encode(), wanted.encode()):
                if self._tokens is None:
                    break
                token_id, asking.token = self._tokens.make(user, asking.name)
                asking.bridge_id = new_id("br")
                self._bridge_of[token_id] = asking.bridge_id
                return asking.name, asking.bridge_id, token_id
        self._tries.wrong(user, now)
        raise NotFound("no such code")

    def bridge_of(self, token_id: str) -> str | None:
        """The bridge that was paired with this token, where the bridge does not name itself."""
        return self._bridge_of.get(token_id)
