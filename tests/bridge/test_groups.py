"""Nothing outlives the bridge: kill -9, leftovers of the last run, containers."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bridge.servers.containers import container_of
from bridge.servers.groups import ProcessGroups, sweep
from bridge.settings import McpServerSettings
from tests.bridge.conftest import HOSTILE, call, ended, first_text, running, until

HOLDER = """
import asyncio, sys
from pathlib import Path
from bridge.servers.groups import ProcessGroups
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings

async def main():
    groups = ProcessGroups(Path(sys.argv[1]))
    settings = McpServerSettings(name="s", command=sys.argv[2], args=sys.argv[3:], inherit_env=["AI_BRIDGE_TEST"])
    owner = ServerOwner(settings, groups)
    task = asyncio.get_running_loop().create_task(owner.run())
    await owner.settled()
    print(owner.pid, owner.error, flush=True)
    if sys.argv[-1] == "daemon":
        reply = await owner.request("tools/call", {"name": "daemon", "arguments": {}})
        print(reply.value["content"][0]["text"], flush=True)
    await task

asyncio.run(main())
"""


def hold(folder: Path, *command: str) -> "subprocess.Popen[str]":
    """A process that runs one server, to be killed."""
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), *command], stdout=subprocess.PIPE, text=True)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def test_a_killed_bridge_takes_its_groups_along(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    holder = hold(tmp_path, sys.executable, HOSTILE, "ignore_term", str(note))
    try:
        server = psutil.Process(int(line(holder).split()[0]))
        below = server.children(recursive=True)
        assert below
        began = time.monotonic()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        await until(lambda: ended(server) and all(map(ended, below)), 5)
        assert time.monotonic() - began < 2
        assert (tmp_path / "servers.json").exists()
        assert sweep(tmp_path) == []
        assert not (tmp_path / "servers.json").exists()
    finally:
        finish(holder)


async def test_the_guardian_is_small_and_deaf_to_signals() -> None:
    groups = ProcessGroups()
    groups.add(2**22 - 7, "nothing")
    guardian = psutil.Process(groups._guardian.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        time.sleep(0.05)
        guardian.send_signal(number)
    time.sleep(0.1)
    assert guardian.is_running()
    assert guardian.memory_info().rss < 15_000_000
    groups.remove(2**22 - 7)
    groups.close()
    assert ended(guardian)


async def test_a_killed_guardian_is_replaced(tmp_path: Path) -> None:
    groups = ProcessGroups()
    sleeper = subprocess.Popen(["sleep", "100"], start_new_session=True)
    groups.add(sleeper.pid, "sleeper")
    first = groups._guardian
    assert first is not None
    first.kill()
    first.wait()
    groups.add(2**22 - 7, "nothing")
    second = groups._guardian
    assert second is not None
    assert second.pid != first.pid
    groups.close()
    assert sleeper.wait(5) == -signal.SIGKILL


def guardian_of(holder: "subprocess.Popen[str]") -> psutil.Process | None:
    for one in psutil.Process(holder.pid).children():
        with suppress(psutil.Error):
            if not ended(one) and "guardian.py" in " ".join(one.cmdline()):
                return one
    return None


async def kill_guardian(holder: "subprocess.Popen[str]") -> float:
    """The seconds until another has taken its place."""
    old = guardian_of(holder)
    assert old is not None
    began = time.monotonic()
    old.kill()
    await until(lambda: guardian_of(holder) not in (None, old))
    return time.monotonic() - began


async def test_a_killed_guardian_is_replaced_though_nothing_else_happens(tmp_path: Path) -> None:
    """At once; one that dies again and again, once a second."""
    holder = hold(tmp_path, sys.executable, HOSTILE, "ignore_term", str(tmp_path / "pid"))
    try:
        server = psutil.Process(int(line(holder).split()[0]))
        for least in (0.0, 0.5):
            assert least <= await kill_guardian(holder) < least + 1
        await asyncio.sleep(0.3)  # it reads what it is told
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        await until(lambda: ended(server), 2)
    finally:
        finish(holder)
        sweep(tmp_path)


async def test_what_left_its_group_is_swept_at_the_next_start(tmp_path: Path) -> None:
    holder = hold(tmp_path, sys.executable, HOSTILE, "", "", "daemon")
    try:
        line(holder)
        stray = psutil.Process(int(line(holder)))
        assert sweep(tmp_path) == []  # the run is alive: nothing of it is touched
        assert not ended(stray)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        found = sweep(tmp_path)
        assert (stray.pid, "s", True) in [(left.pid, left.server, left.ended) for left in found]
        await until(lambda: ended(stray))
        assert sweep(tmp_path) == []
    finally:
        finish(holder)


def test_a_recycled_number_is_not_killed(tmp_path: Path) -> None:
    innocent = subprocess.Popen(["sleep", "100"], start_new_session=True)
    try:
        state = {"boot_id": "feed", "pid": 2**22 - 9, "started": 1.0,
                 "groups": [{"group": innocent.pid, "started": 12345.0, "server": "s"}]}  # fmt: skip
        (tmp_path / "servers.json").write_text(json.dumps(state))
        assert sweep(tmp_path) == []
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"boot_id": 1, "groups": 5, "pid": "x", "started": 1}', "\x00"])
def test_a_broken_file_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "servers.json").write_text(text)
    assert sweep(tmp_path) == []


def test_the_file_is_private(tmp_path: Path) -> None:
    groups = ProcessGroups(tmp_path)
    groups.add(2**22 - 7, "nothing")
    assert stat.S_IMODE((tmp_path / "servers.json").stat().st_mode) == 0o600
    groups.close()
    assert not (tmp_path / "servers.json").exists()


# A `docker` that behaves as the real client does: the container is no child of it, and ends by `rm -f` alone.
DOCKER = """#!/bin/sh
if [ "$4" = missing ]; then exit 125; fi
if [ "$1" = rm ]; then kill -9 "$3"; echo "removed $3" >> "$DOCKER_LOG"; exit 0; fi
shift
if [ "$1" = --cidfile ]; then cid="$2"; shift 2; fi
setsid sleep 300 < /dev/null > /dev/null 2>&1 &
echo $! > "$cid"
shift
exec "$@"
"""


def docker_of(folder: Path) -> Path:
    tool = folder / "docker"
    tool.write_text(DOCKER)
    tool.chmod(0o755)
    return tool


async def test_a_container_is_stopped_with_its_server(tmp_path: Path) -> None:
    docker, log = docker_of(tmp_path), tmp_path / "log"
    settings = McpServerSettings.model_validate({
        "name": "d", "command": str(docker), "args": ["run", "image", sys.executable, HOSTILE],
        "env": {"DOCKER_LOG": str(log)}, "inherit_env": ["AI_BRIDGE_TEST"],
    })  # fmt: skip
    async with running(settings) as owner:
        assert first_text(await call(owner, "good")) == "good"
    assert log.read_text().startswith("removed ")


async def test_a_container_that_never_began_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker, own = docker_of(tmp_path), tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    entry = {"name": "d", "command": str(docker), "inherit_env": ["AI_BRIDGE_TEST"]}
    async with running(McpServerSettings.model_validate(entry | {"args": ["run", "missing"]})) as owner:
        assert owner.error
    assert list(own.iterdir()) == []
    docker.write_text("not a program")
    async with running(McpServerSettings.model_validate(entry | {"args": ["run", "image"]})) as owner:
        assert owner.error
    assert list(own.iterdir()) == []


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    tool = docker_of(tmp_path)
    (tmp_path / "theirs").mkdir()
    told = container_of(str(tool), ["run", "--cidfile", str(tmp_path / "theirs" / "cid"), "image"], {})
    assert told is not None
    told.prepare()
    told.remove()
    assert (tmp_path / "theirs").is_dir()


@pytest.mark.parametrize("replaced", [False, True], ids=["", "whose guardian was killed"])
async def test_a_container_ends_with_a_killed_bridge(tmp_path: Path, replaced: bool) -> None:
    docker = docker_of(tmp_path)
    log = tmp_path / "log"
    wrapper = tmp_path / "bin" / "docker"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nDOCKER_LOG={log} exec {docker} "$@"\n')
    wrapper.chmod(0o755)
    holder = hold(tmp_path, str(wrapper), "run", "image", sys.executable, HOSTILE, "ignore_term")
    try:
        line(holder)
        if replaced:
            await kill_guardian(holder)
            await asyncio.sleep(0.3)  # it reads what it is told
        os.kill(holder.pid, signal.SIGKILL)
        await until(lambda: log.exists() and "removed" in log.read_text())
    finally:
        finish(holder)
        sweep(tmp_path)


def test_which_command_lines_start_a_container() -> None:
    told = container_of("/usr/bin/docker", ["run", "-i", "--rm", "image"], {})
    assert told is not None
    assert told.arguments[:2] == ("run", "--cidfile")
    assert told.arguments[3:] == ("-i", "--rm", "image")
    assert container_of("docker", ["--context", "x", "run", "image"], {}) is not None
    assert container_of("podman", ["container", "run", "image"], {}) is not None
    own = container_of("docker", ["run", "--cidfile", "/x/cid", "image"], {})
    assert own is not None
    assert (own.cidfile, own.arguments) == ("/x/cid", ("run", "--cidfile", "/x/cid", "image"))
    assert container_of("docker", ["run", "--cidfile"], {}) is None
    for command, arguments in [("npx", ["run"]), ("docker", ["exec", "x"]), ("docker", ["mcp", "gateway", "run"])]:
        assert container_of(command, arguments, {}) is None
