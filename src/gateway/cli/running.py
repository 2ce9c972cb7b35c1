"""Is a gateway running on this state folder, and how is it reached?

The running gateway writes `$GATEWAY_HOME/gateway.json` (`pid`, `url`) when it is ready
and removes it when it stops. After `kill -9` the file stays, so the process is looked
for and asked.
"""

import http.client as http_client
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_ANSWER_BYTES = 64 * 1024 * 1024
FILE = "gateway.json"
TOKEN_FILE = "admin.token"  # noqa: S105  # its name


@dataclass(frozen=True, slots=True)
class Running:
    """A live gateway. `url` is `http://127.0.0.1:8080` or the like."""

    pid: int
    url: str

    @property
    def websocket_url(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/ws"


def read_running_file(home: Path) -> Running | None:
    """What `gateway.json` says, alive or not."""
    try:
        data = json.loads((home / FILE).read_bytes())
        return Running(int(data["pid"]), str(data["url"]).rstrip("/"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_running(home: Path) -> Running | None:
    """The gateway that serves this folder right now, or None. Nothing secret is sent to find out."""
    found = read_running_file(home)
    if found is None or not process_exists(found.pid):
        return None
    try:
        status, _ = http(found.url + "/health", seconds=3, anyone=True)
    except OSError:
        return None
    return found if status == 200 else None


def serves(home: Path, url: str) -> bool:
    """Whether `url` is the address of the gateway that runs on this folder: whom its admin token may be shown to."""
    found = read_running_file(home)
    return found is not None and process_exists(found.pid) and _address(found.url) == _address(url)


def _address(url: str) -> tuple[str, str, int | None]:
    parts = urllib.parse.urlsplit(url)
    secure = "s" if parts.scheme in ("wss", "https") else ""
    host = (parts.hostname or "").replace("localhost", "127.0.0.1").replace("::1", "127.0.0.1")
    return secure, host, parts.port or (443 if secure else 80)


def process_exists(pid: int) -> bool:
    """Whether there is a process `pid`, ours or not."""
    if pid <= 0:
        return False
    if os.name == "nt":
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def admin_token(home: Path) -> str:
    """The administrator's token of this folder. Raises OSError."""
    return (home / TOKEN_FILE).read_text(encoding="ascii").strip()


def http(
    url: str,
    *,
    body: Any = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    certificate: Path | None = None,
    seconds: float = 30,
    proxies: bool = False,
    anyone: bool = False,
) -> tuple[int, Any]:
    """One request (POST where there is a body): status and decoded answer. Raises OSError where nobody answers.

    Our own gateway is asked without proxies, and its certificate is trusted for its own address;
    for others `proxies` takes those of the environment. With `anyone` no certificate is asked for.
    """
    given = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "busgate",
        **(headers or {}),
    }
    if token:
        given["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data=data, headers=given)  # noqa: S310  # http(s), from our own file
    except ValueError as error:
        raise OSError(str(error)) from None  # OPENAI_BASE_URL=nonsense
    handlers: list[Any] = [] if proxies else [urllib.request.ProxyHandler({})]
    if url.startswith("https"):
        handlers.append(urllib.request.HTTPSHandler(context=_unverified() if anyone else trusting(certificate)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=seconds) as answer:
            return answer.status, _decoded(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _decoded(error.read(MAX_ANSWER_BYTES))
    except (http_client.HTTPException, ValueError) as error:
        raise OSError(f"not an HTTP answer: {type(error).__name__}") from None


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trusting(certificate: Path | None) -> ssl.SSLContext:
    """A context that takes our own certificate for our own address, and else what the system trusts."""
    context = ssl.create_default_context()
    if certificate is not None:
        context.load_verify_locations(cafile=certificate)
        context.check_hostname = False  # it names the public host, and we come by loopback
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
