"""Finding and reading the bridge's configuration.

Above: the commands and `app.py`. Below: `bridge.configuration` (YAML with positions, references) and
`bridge.settings` (the models). Everything the bridge keeps lies beside the configuration.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.configuration import ConfigurationError, Place, Problem, References, RefusedForSafety, load_text, read
from bridge.configuration import Path as KeyPath
from bridge.jsonc import looks_like_json, plain_json
from bridge.proxies import proxy_of
from bridge.settings import BridgeSettings, is_loopback_url, source_location

MAX_BYTES = 4 * 1024 * 1024


class NotConfigured(ConfigurationError):
    """There is no configuration yet, or not enough in it for this command. The message names the next command."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__([Problem(Place(str(path)), "", message)])


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and the file they came from; `found` is False where there is no file."""

    settings: BridgeSettings
    path: Path
    found: bool

    @property
    def folder(self) -> Path:
        """Where ledger, audit log, pid file and secrets lie."""
        return self.path.parent


def config_path(option: str | Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """`--config`, `$AI_BRIDGE_CONFIG`, or `~/.ai-bridge/config.yaml`."""
    environ = os.environ if environ is None else environ
    named = option or environ.get("AI_BRIDGE_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return (Path(home) if home else Path.home()) / ".ai-bridge" / "config.yaml"


def load(option: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings. Without a file they are empty, unless the file was named.

    Raises ConfigurationError (exit 2) and RefusedForSafety (exit 3) with all mistakes.
    """
    environ = os.environ if environ is None else environ
    path = config_path(option, environ)
    try:
        text = path.read_bytes()[:MAX_BYTES].decode("utf-8-sig")
    except FileNotFoundError:
        if option or environ.get("AI_BRIDGE_CONFIG"):
            raise NotConfigured(path, "no such file") from None
        return Loaded(BridgeSettings(), path, found=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8 text").lower()
        raise NotConfigured(path, reason) from None
    return Loaded(parse(text, str(path), References(environ, path.parent)), path, found=True)


def check_link(loaded: Loaded) -> None:
    """See that there is a gateway to dial. Raises ConfigurationError; RefusedForSafety where the token would show."""
    server = loaded.settings.server
    if server.url is None:
        raise NotConfigured(loaded.path, "server.url is missing; next: ai-bridge connect URL --pair")
    check_safe(loaded)
    if server.token is None:
        raise NotConfigured(loaded.path, f"server.token is missing; next: ai-bridge connect {server.url} --pair")
    proxy_of(server.url)  # what is wrong with HTTPS_PROXY heals by no waiting


def check_safe(loaded: Loaded) -> None:
    """Raise RefusedForSafety where the gateway's address would let others on the way see the token."""
    url = loaded.settings.server.url
    if url is not None and url.startswith("ws://") and not is_loopback_url(url):
        reason = "ws:// is only for this machine: the token would travel in the clear. Use wss://"
        raise RefusedForSafety([Problem(Place(str(loaded.path)), "server.url", reason)])


def parse(text: str, source: str, references: References) -> BridgeSettings:
    """The settings in a text, YAML or JSON with comments. Raises ConfigurationError, RefusedForSafety."""
    document = load_text(plain_json(text) if looks_like_json(text) else text, source)
    document.data = document.data or {}
    return read(document, references, BridgeSettings, enabled=_enabled, locate=source_location)


def _enabled(path: KeyPath, section: Mapping[str, Any]) -> bool:
    """Whether references in this section are looked up: not in servers that are off, in either way to say so."""
    return str(section.get("enabled", "")).lower() != "false" and section.get("disabled") is not True


def host_name() -> str:
    """What this machine calls itself."""
    return socket.gethostname()[:64] or "bridge"
