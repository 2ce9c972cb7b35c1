"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge.errors
import bus.errors

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
WRITTEN = [path for name in ("bench", "docs", "examples", "packaging", "tests") for path in (ROOT / name).rglob("*.py")]
REASONED = [*SOURCES, *sorted(path for path in WRITTEN if "node_modules" not in path.parts)]
MAX_LINES = 300
BROAD = re.compile(r"(?:contextlib\.)?suppress\((?:Base)?Exception\)")
EXCUSE = re.compile(r"# (?:type: ignore(?:\[[\w, -]+\])?|noqa(?:: [A-Z]+\d+(?:, [A-Z]+\d+)*)?)")


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_style():
    run("-m", "ruff", "check", "--no-cache", "src", "tests", *(["bench"] if (ROOT / "bench").is_dir() else []))


@pytest.mark.timeout(300)
def test_types():
    run("-m", "mypy")


def test_layers():
    run("-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_is_a_room_one_can_see_through(path: Path):
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MAX_LINES, f"{count} lines: split it"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_says_what_it_is(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module begins with a docstring"
    assert path.stem not in ("utils", "common", "helpers", "misc")


def _calls(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield node, child


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_task_has_an_owner(path: Path):
    """`create_task` whose result nobody keeps belongs to a TaskGroup, never to the loop or to asyncio."""
    for parent, call in _calls(ast.parse(path.read_text(encoding="utf-8"))):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in ("create_task", "ensure_future") or not isinstance(parent, ast.Expr):
            continue
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        assert owner and owner != "asyncio" and "loop" not in owner, f"line {call.lineno}: a task without an owner"


@pytest.mark.parametrize("path", REASONED, ids=relative)
def test_a_broad_except_has_a_written_reason(path: Path):
    """On its line, also where it raises again: what is caught there, and why all of it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("BaseException", "Exception")
        else:
            broad = isinstance(node, ast.Call) and bool(BROAD.fullmatch(ast.unparse(node)))
        if broad:
            line = lines[node.lineno - 1]
            assert re.search(r"# .*\w{3}", line), f"line {node.lineno}: why is everything caught here?"


@pytest.mark.parametrize("path", REASONED, ids=relative)
def test_an_exception_to_a_rule_has_a_written_reason(path: Path):
    """Beside `type: ignore` or `noqa`, or in a comment above: what makes this line right all the same."""
    before = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if (found := EXCUSE.search(line)) and not before.lstrip().startswith("#"):
            reason = EXCUSE.sub("", line[found.start() :])
            assert re.search(r"\w{3}", reason), f"line {number}: {line.strip()}"
        before = line


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:  # an unpacked archive has no history: then every file counts
        return [path for folder in ("src", "tests", "config", "docs") for path in (ROOT / folder).rglob("*.*")]
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_no_registry_is_named():
    """Which registry is asked is the machine's business: the repository only pins versions and hashes."""
    hosts = [".".join(parts).encode() for parts in (
        ("py" + "pi", "org"), ("python" + "hosted", "org"), ("registry", "npm" + "js", "org"),
        ("np" + "mmirror", "com"), ("registry", "yarn" + "pkg", "com"),
    )]  # fmt: skip
    guilty = [
        relative(path) for path in tracked()
        if path.is_file() and any(host in path.read_bytes() for host in hosts)
    ]  # fmt: skip
    assert not guilty


def test_both_programs_number_their_errors_alike():
    ours = {error.__name__: (error.code, error.retryable) for error in bus.errors.GatewayError.__subclasses__()}
    theirs = {error.__name__: (error.code, error.retryable) for error in bridge.errors.BridgeError.__subclasses__()}
    shared = ours.keys() & theirs.keys()
    assert len(shared) >= 15
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    codes = {code for code, _ in ours.values()}
    assert {code for code, _ in theirs.values()} <= codes, "a number that is not in the contract"
    assert len(codes) == len(ours), "two errors share a number"


def test_the_versions_are_one():
    import tomllib

    import bridge.version
    import gateway

    versions = {
        gateway.__version__, bridge.version.VERSION,
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        tomllib.loads((ROOT / "packaging/ai-bridge/pyproject.toml").read_text())["project"]["version"],
    }  # fmt: skip
    assert len(versions) == 1
    assert f"## {versions.pop()}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_lock_files_pin_everything_with_hashes():
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-build.lock"):
        blocks = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
        pins = [line for line in blocks if line.strip() and not line.startswith("#")]
        assert pins and all("==" in line and "--hash=sha256:" in line for line in pins), name
