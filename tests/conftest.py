"""What every test stands on: `src` on the path of child processes too, and no address but loopback."""

import ipaddress
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import side_by_side

ROOT = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join(
    p for p in (str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")) if p
)
for name in list(os.environ):
    if name.startswith(("GATEWAY", "OPENAI_", "TELEGRAM_", "DISCORD_", "FEISHU_", "AI_BRIDGE")):
        del os.environ[name]
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)


class OutsideWorld(AssertionError):
    """A test tried to reach an address that is not loopback."""


def _is_loopback(host: Any) -> bool:
    if not isinstance(host, str) or host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            raise OutsideWorld(f"connect to {address[0]}")
    elif event == "socket.getaddrinfo" and not _is_loopback(arguments[0]):
        host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
        if not _is_loopback(host) and host not in (socket.gethostname(), "0.0.0.0", "::"):
            raise OutsideWorld(f"look-up of {host}")


sys.addaudithook(_guard)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return side_by_side.make_scheduler(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return side_by_side.speakable((yield))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = side_by_side.in_order(items)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary folder for the session and all of its processes, short enough for sockets; empty in the end."""
    tmp_path_factory.getbasetemp()  # pytest's own folders stay where they are
    folder = Path(tempfile.mkdtemp(prefix="busgate-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    for _ in range(50):  # a guardian of a test's last process may still be taking its own things away
        left = sorted(path.name for path in folder.iterdir())
        if not left:
            break
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"left in the temporary folder: {left}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh `$GATEWAY_HOME`."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GATEWAY_HOME", str(folder))
    return folder
