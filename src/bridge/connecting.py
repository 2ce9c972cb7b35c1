"""`ai-bridge connect`: where the gateway is, and the token for it, into the configuration and the secrets."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlunsplit

from pydantic import ValidationError

from bridge.configuration import ConfigurationError, Place, Problem, RefusedForSafety
from bridge.editing import ConfigurationFile, add_secrets, check_private, write_private
from bridge.loading import config_path, host_name
from bridge.pairing import (
    PairingFailed,
    http_base,
    qr_lines,
    qr_lines_of_colours,
    refusal_of,
    request_code,
    wait_for_token,
)  # fmt: skip
from bridge.settings import LinkSettings, is_loopback_url, url_parts

TOKEN = "AI_BRIDGE_TOKEN"  # noqa: S105 - the name of a secret, not one
_STAYS = "nothing is changed, the one before stays"


def remember(
    config: Path | None, url: str, *, pair: bool, token: str | None, name: str | None, say: Callable[[str], None],
    qr: bool = True,
) -> Callable[[], None]:  # fmt: skip
    """Write the gateway's address and token down, unless a token worked before and this one is refused.

    What comes back undoes it, for a gateway that says no only later. Raises ConfigurationError, RefusedForSafety.
    """
    address = _address(url)
    path = config_path(config)
    file = ConfigurationFile(path)
    secrets = path.parent / "secrets.yaml"
    check_private(secrets)
    called = name or (file.data.get("server") or {}).get("name") or host_name()
    secret = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 - stdin
    if pair:
        secret = _pair(address, str(called), say, qr=qr)
    known = (file.data.get("server") or {}).get("token")
    before = _texts(path, secrets) if known else {}
    if secret:
        if known and not pair and (reason := refusal_of(address, secret)) is not None:
            raise RefusedForSafety([Problem(Place(http_base(address)), "", f"{reason}; {_STAYS}")])
        add_secrets(secrets, {TOKEN: secret})
        known = f"${{secret:{TOKEN}}}"
    elif not known and os.environ.get(TOKEN):
        known = f"${{{TOKEN}}}"
    elif not known:
        raise ConfigurationError([Problem(Place(str(path)), "server.token", "is missing; use --pair or --token")])
    file.put("server", {"url": address, "token": known, "name": called})
    file.save()
    say(f"written to {path}")

    written = _texts(path, secrets)

    def undo() -> None:
        if before and _texts(path, secrets) == written:
            for each, text in before.items():
                write_private(each, text)
            say(f"{path}: {_STAYS}")

    return undo


def _texts(*paths: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}


def _address(url: str) -> str:
    """`https://host` and `host` are understood; the path of the tunnel is added where there is none."""
    place = Place("URL")
    try:
        parts = url_parts(url if "://" in url else f"wss://{url}")
    except ValueError as error:
        raise ConfigurationError([Problem(place, "", str(error))]) from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    address = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") or "/v1/tunnel", parts.query, parts.fragment))
    try:
        LinkSettings(url=address)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigurationError([Problem(place, "", reason)]) from None
    if scheme == "ws" and not is_loopback_url(address):
        raise RefusedForSafety([Problem(place, "", "ws:// is only for this machine: use wss://")])
    return address


def _until(moment: str) -> str:
    """The gateway's RFC 3339 time on this computer's clock; nothing for what is no time."""
    try:
        return f", until {datetime.fromisoformat(moment).astimezone():%H:%M}"
    except ValueError:
        return ""


def _pair(address: str, name: str, say: Callable[[str], None], *, qr: bool) -> str:
    try:
        offer = request_code(address, name)
        sys.stdout.write(f"code: {offer.code}\n")
        sys.stdout.flush()
        say(f"confirm it in the chat: /bridge pair {offer.code}   or at {http_base(address)}{_until(offer.expires_at)}")
        if qr and sys.stderr.isatty():
            draw = qr_lines if (sys.stderr.encoding or "").lower().startswith("utf") else qr_lines_of_colours
            for line in draw(f"{http_base(address)}/#pair={offer.code}"):
                say(line)
        token = wait_for_token(address, offer)
    except PairingFailed as error:
        raise ConfigurationError([Problem(Place(http_base(address)), "", str(error))]) from None
    say("confirmed")
    return token
