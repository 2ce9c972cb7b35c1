"""What the doctor looks at: each check says how it stands and, where it fails, the next command.

Pure looking but for `fix`, which a finding may bring along. Above: `doctor.py`.
"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bridge.audit import audit_files, verify
from gateway.cli.probes import ProbeFailed, discord_bot, feishu_app, models_of, telegram_bot
from gateway.cli.running import (
    FILE,
    TOKEN_FILE,
    Running,
    admin_token,
    find_running,
    http,
    process_exists,
    read_running_file,
)
from gateway.database import check_database
from gateway.identity.document import CorruptDocument, Document
from gateway.observability.redaction import MIN_SECRET_CHARS, secrets_of
from gateway.settings import Loaded

State = Literal["ok", "warning", "failed"]
PRIVATE_FILES = (
    TOKEN_FILE,
    "secrets.yaml",
    "audit.head",
    "identity/tokens.json",
    "identity/logins.json",
)
LOW_DISK_BYTES = 200 * 1024 * 1024
_SDKS = {"telegram": "telegram", "discord": "discord", "feishu": "lark_oapi"}


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing stands. `next` is a command or a step; `fix` mends it at once."""

    name: str
    state: State
    message: str
    next: str = ""
    fix: Callable[[], None] | None = None


def check_all(loaded: Loaded) -> Iterator[Finding]:
    """Everything, in the order in which it matters."""
    yield _python()
    yield Finding("configuration", "ok", str(loaded.source or "no file: the defaults"))
    for warning in loaded.warnings:
        yield Finding("configuration", "warning", warning, "gateway config show")
    yield from _written_secrets(loaded)
    home = list(check_home(loaded.home))
    yield from home
    if not any(each.name == "state folder" and each.state == "failed" for each in home):
        yield from _process(loaded)
        yield _audit(loaded.home)
        yield from _documents(loaded.home)
    yield from _certificate(loaded)
    yield from _models(loaded)
    yield from _channels(loaded)
    yield from _servers(loaded)


def _written_secrets(loaded: Loaded) -> Iterator[Finding]:
    """A configuration may hold secrets itself, rather than refer to them: then it is no file for everybody."""
    path = loaded.source
    if os.name != "posix" or path is None or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if any(len(secret) >= MIN_SECRET_CHARS and secret in text for secret in secrets_of(loaded.settings)):
        yield Finding(
            "permissions", "warning", f"others can read {path}, and a secret is written in it",
            f"chmod 600 {path}", fix=partial(path.chmod, 0o600),
        )  # fmt: skip


def _python() -> Finding:
    return Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))


def check_home(home: Path) -> Iterator[Finding]:
    """The state folder: there or to be made, and ours alone."""
    try:
        is_folder = stat.S_ISDIR(home.stat().st_mode)
    except FileNotFoundError:
        yield _to_be_made(home)
        return
    except OSError as error:
        yield Finding("state folder", "failed", f"{home}: {error.strerror}", "choose another GATEWAY_HOME")
        return
    if not is_folder:
        yield Finding("state folder", "failed", f"{home} is no folder", "choose another GATEWAY_HOME")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("state folder", "failed", f"{home} can't be written", f"sudo chown -R $USER {home}")
        return
    yield Finding("state folder", "ok", str(home))
    for path in (home, *(home / name for name in PRIVATE_FILES), *audit_files(home / "audit.jsonl")):
        if os.name == "posix" and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            mode = 0o700 if path.is_dir() else 0o600
            yield Finding(
                "permissions", "warning" if path == home else "failed", f"others can read {path}",
                f"chmod {mode:o} {path}",
                fix=partial(path.chmod, mode),
            )  # fmt: skip
    free = shutil.disk_usage(home).free
    if free < LOW_DISK_BYTES:
        yield Finding("disk", "failed", f"{free // 2**20} MiB left", f"make room on the disk of {home}")
    else:
        yield Finding("disk", "ok", f"{free // 2**30} GiB free")


def _to_be_made(home: Path) -> Finding:
    above = next(folder for folder in home.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return Finding("state folder", "failed", f"{home} can't be made in {above}", "choose another GATEWAY_HOME")
    return Finding("state folder", "ok", f"{home} is made at the first start")


def _process(loaded: Loaded) -> Iterator[Finding]:
    said = read_running_file(loaded.home)
    running = find_running(loaded.home)
    server = loaded.settings.server
    if running is not None:
        yield Finding("gateway", "ok", f"running, pid {running.pid}, {running.url}")
        yield from _admin_token(loaded, running)
        return
    if said is not None and process_exists(said.pid):
        yield Finding("gateway", "failed", f"pid {said.pid} does not answer on {said.url}", f"kill {said.pid}")
        return
    if said is not None:
        file = loaded.home / FILE
        yield Finding(
            "gateway", "warning", f"{file} is left from a gateway that died", "gateway doctor --fix",
            fix=lambda: file.unlink(missing_ok=True),
        )  # fmt: skip
    if server.port and _taken(server.host, server.port):
        yield Finding(
            "port", "failed", f"{server.host}:{server.port} is used by another program", "gateway run --port 0"
        )
    else:
        yield Finding("gateway", "ok", f"not running; {server.host}:{server.port} is free")


def _admin_token(loaded: Loaded, running: Running) -> Iterator[Finding]:
    """The commands speak to the running gateway with it."""
    again = "start the gateway again: it writes a new one"
    try:
        token = admin_token(loaded.home)
        code, _ = http(running.url + "/status", token=token, certificate=loaded.settings.server.tls.cert)
    except OSError as error:
        yield Finding("admin token", "failed", f"{loaded.home / TOKEN_FILE}: {error.strerror or error}", again)
        return
    if code == 401:
        yield Finding("admin token", "failed", f"the running gateway does not know {loaded.home / TOKEN_FILE}", again)


def _documents(home: Path) -> Iterator[Finding]:
    """What is kept of people, and the databases: where one cannot be read, nothing starts."""
    for path in sorted((home / "identity").glob("*.json")):
        try:
            Document(path)
        except CorruptDocument as error:
            yield Finding("people", "failed", str(error), f"gateway restore FILE, or mv {path} {path}.bad")
    for path in sorted(home.glob("*.db")):
        try:
            check_database(path)
        except CorruptDocument as error:
            yield Finding("database", "failed", str(error), f"gateway restore FILE, or mv {path} {path}.bad")


def _taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _audit(home: Path) -> Finding:
    verdict = verify(home / "audit.jsonl")
    if verdict.ok:
        return Finding("audit log", "ok", f"{verdict.records} records, the chain is whole")
    where = f"{verdict.path.name}, line {verdict.line}" if verdict.path else ""
    return Finding("audit log", "failed", f"{where}: {verdict.reason}", "gateway audit verify")


def _certificate(loaded: Loaded) -> Iterator[Finding]:
    tls = loaded.settings.server.tls
    if tls.cert is None or tls.key is None:
        return
    from gateway.server import UnusableTls, tls_context

    try:
        tls_context(loaded.settings.server)
    except UnusableTls as error:
        yield Finding("certificate", "failed", str(error), "set server.tls.cert and server.tls.key")
    else:
        yield Finding("certificate", "ok", str(tls.cert))


def _models(loaded: Loaded) -> Iterator[Finding]:
    if not loaded.settings.models:
        yield Finding("model", "warning", "only the built-in demo model", "gateway init, or set OPENAI_API_KEY")
    for model in loaded.settings.models:
        key = model.api_key.get_secret_value() if model.api_key else None
        name = f"model {model.name}"
        try:
            offered = models_of(model.base_url, key)
        except ProbeFailed as error:
            step = f"check models.{model.name}.api_key" if error.refused else f"curl {model.base_url}/models"
            yield Finding(name, "failed", f"{model.base_url} {error}", step)
            continue
        if offered and model.model not in offered:
            some = ", ".join(offered[:5])
            yield Finding(name, "warning", f"{model.model} is not offered (there are {some} …)", "gateway config show")
        else:
            yield Finding(name, "ok", f"{model.model} at {model.base_url}")


def _channels(loaded: Loaded) -> Iterator[Finding]:
    channels = loaded.settings.channels
    probes: dict[str, Callable[[], str]] = {
        "telegram": lambda: telegram_bot(_secret(channels.telegram.token), channels.telegram.base_url),
        "discord": lambda: discord_bot(_secret(channels.discord.token), channels.discord.api_url),
        "feishu": lambda: feishu_app(
            channels.feishu.app_id or "", _secret(channels.feishu.app_secret), channels.feishu.domain
        ),
    }
    for name, probe in probes.items():
        if not getattr(channels, name).enabled:
            continue
        if find_spec(_SDKS[name]) is None:
            yield Finding(name, "failed", "its library is not installed", f"pip install 'busgate[{name}]'")
            continue
        try:
            yield Finding(name, "ok", probe())
        except ProbeFailed as error:
            step = f"set channels.{name} anew: gateway init shows how" if error.refused else "check the network"
            yield Finding(name, "failed", f"the platform {error}", step)


def _secret(value: object) -> str:
    read = getattr(value, "get_secret_value", None)
    return str(read()) if read else ""


def _servers(loaded: Loaded) -> Iterator[Finding]:
    for server in loaded.settings.mcp_servers:
        if not server.enabled:
            continue
        name = f"mcp server {server.name}"
        if server.command is None:
            yield Finding(name, "ok", f"at {server.url}")
        elif shutil.which(server.command) is None:
            yield Finding(name, "failed", f"there is no program {server.command}", f"install {server.command}")
        else:
            yield Finding(name, "ok", server.command)
