"""The two files by which commands find the running gateway: `gateway.json` and `admin.token`, both 0600."""

import json
import os
from pathlib import Path

from bus.errors import GatewayError
from gateway.identity.document import write_private
from gateway.identity.tokens import Tokens
from gateway.identity.users import Users

ADMIN = "admin"


def announce(home: Path, url: str) -> None:
    """Say where the gateway is."""
    write_private(home / "gateway.json", json.dumps({"pid": os.getpid(), "url": url}).encode() + b"\n")


def withdraw(home: Path) -> None:
    """The gateway is no more."""
    path = home / "gateway.json"
    try:
        if json.loads(path.read_bytes()).get("pid") == os.getpid():
            path.unlink()
    except (OSError, ValueError):
        pass


class AdminToken:
    """The owner's token in `admin.token`: made at the first start, made again if it is worth nothing."""

    def __init__(self, home: Path, tokens: Tokens, users: Users) -> None:
        self.path = home / "admin.token"
        self._tokens = tokens
        self._users = users
        self._token_id = ""

    def ensure(self, now: float) -> None:
        """Make sure that the file holds a token that works. Raises Overloaded where the disk refuses."""
        try:
            self._token_id = self._tokens.verify(self.path.read_text("ascii").strip(), now).token_id
            self.path.chmod(0o600)
        except (OSError, UnicodeDecodeError, GatewayError):
            self._users.ensure(ADMIN, "owner")
            token, text = self._tokens.create(ADMIN, "owner", now, name="admin token")
            self._keep(token.token_id, text)

    def rotated(self, token_id: str, text: str) -> None:
        """A token got a new secret: if it was this one, the file follows."""
        if token_id == self._token_id:
            self._keep(token_id, text)

    def _keep(self, token_id: str, text: str) -> None:
        write_private(self.path, text.encode() + b"\n")
        self._token_id = token_id
