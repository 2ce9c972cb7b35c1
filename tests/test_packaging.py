"""The wheels as people get them: built from the tree, installed into a clean environment, started.

The environment sees the third-party packages of the tests' own by a path file, which adds
a folder and follows no other path file in it: so the tree itself is not visible.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def build(project: Path, target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=project, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    target = tmp_path_factory.mktemp("wheels")
    build(ROOT, target)
    build(ROOT / "packaging" / "ai-bridge", target)
    return sorted(target.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    binary = folder / "bin"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(binary / "python"), "--disable-pip-version-check", "install",
         "--quiet", "--no-deps", "--no-index", *map(str, wheels)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binary


def start(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=60, cwd=home, check=False,
        env={**environ, "HOME": str(home), "GATEWAY_HOME": str(home / "state")},
    )  # fmt: skip


def test_the_two_distributions_share_no_file(wheels: list[Path]):
    names = [set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels]
    bridge, gateway = sorted(names, key=lambda each: any(name.startswith("gateway/") for name in each))
    assert not bridge & gateway
    assert {name.split("/")[0] for name in bridge if ".dist-info" not in name} == {"bridge"}
    assert {name.split("/")[0] for name in gateway if ".dist-info" not in name} == {
        "gateway",
        "channels",
        "bus",
        "agent",
    }


def test_nothing_is_left_out_of_the_wheels(wheels: list[Path]):
    packed = {name for wheel in wheels for name in zipfile.ZipFile(wheel).namelist()}
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= packed, sorted(sources - packed)


def test_the_installed_packages_are_not_the_tree(environment: Path, tmp_path: Path):
    done = start(
        str(environment / "python"),
        "-c",
        "import gateway, bridge; print(gateway.__file__, bridge.__file__)",
        home=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout and "site-packages" in done.stdout


def test_the_scripts_start(environment: Path, tmp_path: Path):
    done = start(str(environment / "gateway"), "--version", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "gateway 0.1.0\n"), done.stderr
    done = start(str(environment / "python"), "-m", "gateway", "config", "check", home=tmp_path)
    assert done.returncode == 0 and "defaults" in done.stdout, done.stderr
    done = start(str(environment / "ai-bridge"), "--help", home=tmp_path)
    assert done.returncode == 0 and "ai-bridge" in done.stdout, done.stderr
    done = start(str(environment / "python"), "-m", "bridge", "--help", home=tmp_path)
    assert done.returncode == 0, done.stderr
