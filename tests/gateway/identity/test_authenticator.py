"""Who comes with what is worth nothing any more."""

from pathlib import Path

import pytest

from bus.errors import TokenExpired
from gateway.auth import Authenticator
from gateway.identity.document import Document
from gateway.identity.tokens import Tokens


def test_a_cookie_whose_time_is_over_is_no_cookie_and_a_bearer_is_told(tmp_path: Path) -> None:
    tokens = Tokens(Document(tmp_path / "tokens.json"))
    now = 1_000_000.0
    _, text = tokens.create("alice", "user", now, ttl=10.0, kind="web")
    then = Authenticator(tokens, lambda: now + 5)
    later = Authenticator(tokens, lambda: now + 11)
    principal = then.cookie(text)
    assert principal is not None and principal.user == "alice"
    assert later.cookie(text) is None
    with pytest.raises(TokenExpired):
        later.token(text)
    with pytest.raises(TokenExpired):
        later.recheck(principal)
