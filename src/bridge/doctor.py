"""What may be wrong with a bridge, each finding with the next command. Below `cli/`; changes nothing."""

import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.audit import audit_files, verify
from bridge.configuration import ConfigurationError
from bridge.loading import Loaded, config_path, load
from bridge.proxies import proxy_of
from bridge.servers.process import CommandNotFound, child_environment, resolve_command, working_folder
from bridge.settings import BridgeSettings, is_loopback_url
from bridge.status import read_status

_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `next` is what to do where it isn't well."""

    name: str
    ok: bool
    detail: str
    next: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def examine(option: str | Path | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """All checks, in the order in which one depends on another."""
    yield Finding("python", True, sys.version.split()[0])
    try:
        loaded = load(option, environ)
    except ConfigurationError as error:
        yield Finding("configuration", False, str(error), f"edit {config_path(option, environ)}")
        return
    if not loaded.found:
        yield Finding("configuration", False, f"{loaded.path} does not exist", "ai-bridge import, or connect URL")
        return
    yield Finding("configuration", True, str(loaded.path))
    checks: list[Callable[[Loaded, Mapping[str, str]], Iterator[Finding]]] = [
        _private, _servers, _gateway, _running, _audit,
    ]  # fmt: skip
    for check in checks:
        yield from check(loaded, environ)


def _private(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    files = [loaded.folder / name for name in ("secrets.yaml", "ledger.sqlite")]
    for path in (*files, *audit_files(loaded.folder / "audit.jsonl")):
        if os.name == "posix" and path.exists():
            wide = bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
            yield Finding(path.name, not wide, "others can read it" if wide else "private", f"chmod 600 {path}" * wide)


def _servers(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    servers = [server for server in loaded.settings.mcp_servers if server.enabled]
    if not servers:
        yield Finding("servers", False, "no MCP server is configured", "ai-bridge import")
    for server in servers:
        if server.command is None:
            yield Finding(server.name, True, f"by {server.kind}; ai-bridge check tries it")
            continue
        try:
            scrubbed = child_environment(server, environ, windows=sys.platform == "win32")
            found = resolve_command(server.command, scrubbed, working_folder(server.cwd))
            yield Finding(server.name, True, f"{found}; ai-bridge check tries it")
        except CommandNotFound as error:
            yield Finding(server.name, False, str(error), f"install {Path(server.command).name}, or correct 'command'")
        except FileNotFoundError as error:
            yield Finding(server.name, False, str(error), "correct 'cwd'")


def _gateway(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    settings: BridgeSettings = loaded.settings
    url = settings.server.url
    if url is None:
        yield Finding("gateway", False, "no address is configured", "ai-bridge connect wss://…/v1/tunnel --pair")
        return
    if url.startswith("ws://") and not is_loopback_url(url):
        yield Finding("gateway", False, "ws:// to another machine is refused", "use wss:// in server.url")
        return
    if settings.server.token is None:
        yield Finding("token", False, "none is configured", f"ai-bridge connect {url} --pair")
    trouble = _reach(url)
    step = f"start the gateway there, or correct the address: ai-bridge connect {url} --pair"
    yield Finding("gateway", trouble is None, trouble or f"{urlsplit(url).hostname} can be reached",
                  "" if trouble is None else step)  # fmt: skip


def _reach(url: str) -> str | None:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    try:
        proxy = proxy_of(url)
    except ConfigurationError as error:
        return str(error)
    try:
        if proxy is not None:  # what is behind it the bridge itself finds out
            way = urlsplit(proxy)
            socket.create_connection((way.hostname or "", way.port or 80), _SECONDS).close()
            return None
        plain = socket.create_connection((parts.hostname or "", parts.port or (443 if secure else 80)), _SECONDS)
        with closing(plain):
            if secure:
                context = ssl.create_default_context()
                with context.wrap_socket(plain, server_hostname=parts.hostname):
                    pass
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except OSError as error:
        where = parts.hostname if proxy is None else "the proxy of HTTPS_PROXY"
        return f"{where} can't be reached: {error.strerror or error}"
    return None


def _running(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    status = read_status(loaded.folder)
    if not status.running:
        yield Finding("bridge", True, "is not running; ai-bridge run starts it")
        return
    link = status.told.get("link", {})
    well = link.get("state") == "connected"
    yield Finding("bridge", well, f"runs, {link.get('state')} {link.get('reason', '')}".strip(),
                  "" if well else "ai-bridge status")  # fmt: skip
    for server in status.told.get("servers", []):
        if server.get("state") == "failed":
            yield Finding(str(server["name"]), False, str(server.get("error")), "ai-bridge check")


def _audit(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    path = loaded.folder / "audit.jsonl"
    if path.exists():
        verdict = verify(path)
        detail = f"{verdict.records} records" if verdict.ok else f"line {verdict.line}: {verdict.reason}"
        yield Finding("audit", verdict.ok, detail, "" if verdict.ok else "ai-bridge audit verify")
