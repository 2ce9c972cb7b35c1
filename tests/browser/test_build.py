"""The built files: what the sources give, small, complete, and careful in what they use."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.browser.driving import ROOT, WEBUI, need_node

STATIC = ROOT / "src" / "gateway" / "http" / "static"
SOURCES = sorted((WEBUI / "src").rglob("*.js"))
MOST = 80_000


def test_the_committed_files_are_what_the_sources_give() -> None:
    done = subprocess.run([need_node(), "build.mjs", "--check"], cwd=WEBUI, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_change_of_the_sources_is_noticed(tmp_path: Path) -> None:
    """The check can fail: with one source changed, and with a file left over."""
    node = need_node()
    copy = tmp_path / "webui"
    subprocess.run(["cp", "-r", str(WEBUI / "src"), str(WEBUI / "build.mjs"), str(WEBUI / "package.json"), "."],
                   cwd=_made(copy), check=True)  # fmt: skip
    (copy / "node_modules").symlink_to(WEBUI / "node_modules")
    static = tmp_path / "src" / "gateway" / "http" / "static"
    static.mkdir(parents=True)
    for entry in STATIC.iterdir():
        (static / entry.name).write_bytes(entry.read_bytes())

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run([node, "build.mjs", "--check"], cwd=copy, capture_output=True, text=True, timeout=120)

    assert check().returncode == 0
    (static / "old.js").write_text("left")
    assert check().returncode == 1 and "old.js is left over" in check().stderr
    (static / "old.js").unlink()
    main = copy / "src" / "main.js"
    main.write_text(main.read_text() + "\nconsole.info('more');\n")
    assert "is missing" in check().stderr


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_everything_together_is_small() -> None:
    sizes = {entry.name: len(gzip.compress(entry.read_bytes(), 9)) for entry in STATIC.iterdir()}
    assert sum(sizes.values()) < MOST, sizes


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((WEBUI / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_licences_of_what_is_bundled() -> None:
    text = (STATIC / "licences.txt").read_text()
    for name in ("marked", "dompurify", "highlight.js"):
        assert re.search(rf"^{re.escape(name)} \d+\.\d+", text, re.M)
    assert "Permission is hereby granted" in text and "Mozilla Public License" in text and "Redistribution" in text


@pytest.mark.attack(86)
def test_the_sources_never_parse_markup() -> None:
    """Everything of others becomes text nodes; only DOMPurify, in one file, makes elements out of text."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|"
        r"createContextualFragment"
    )
    assert len(SOURCES) > 25
    for source in SOURCES:
        assert not forbidden.search(source.read_text()), source.name
        assert ("dompurify" in source.read_text()) == (source.name == "markdown.js")


@pytest.mark.attack(2)
def test_only_the_page_s_own_origin_is_ever_named() -> None:
    connects = [
        source.name
        for source in SOURCES
        if re.search(r"new WebSocket|EventSource|sendBeacon|XMLHttpRequest", source.read_text())
    ]
    assert connects == ["rpc.js"]
    for source in SOURCES:
        for address in re.findall(r"fetch\(([^,)]*)", source.read_text()):
            assert address.startswith(('"/', "`/")), (source.name, address)
    reading = re.compile(r"location\.(search|hash)")
    assert {source.name for source in SOURCES if reading.search(source.read_text())} <= {
        "login.js",
        "main.js",
        "sidebar.js",
        "settings.js",
    }


def test_nothing_secret_is_kept_by_scripts() -> None:
    keeping = [
        source.name
        for source in SOURCES
        if re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie", source.read_text())
    ]
    assert keeping == ["settings.js"]


def test_both_languages_say_the_same_things() -> None:
    found = run("words")
    assert (found["missing"], found["more"], found["holes"]) == ([], [], [])
    text = "".join(source.read_text() for source in SOURCES if not source.name.startswith("words."))
    used = set(re.findall(r'"([a-zA-Z_0-9]+)"', text))
    made = ("agent_", "allowed_", "state_", "policy_", "scope_")
    assert [key for key in found["keys"] if key not in used and not key.startswith(made)] == []


def run(probe: str) -> dict[str, object]:
    """What one of the small programs in `probes` prints about the page's modules."""
    done = subprocess.run(
        [need_node(), str(Path(__file__).parent / "probes" / f"{probe}.mjs")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_badge_in_all_its_states() -> None:
    assert run("badge") == {
        "on": {"state": "on", "text": "Local bridge connected: laptop, 3 servers, 14 tools, 38 ms"},
        "quiet": {"state": "on", "text": "Local bridge connected: laptop, 1 server, 1 tool"},
        "none": {"state": "none", "text": "No local bridge"},
        "away": {"state": "away", "text": "Local bridge reconnecting: laptop"},
        "off": {"state": "off", "text": "Local bridge offline: laptop"},
        "trouble": {"state": "trouble", "text": "Local bridge connected, with trouble: laptop, 1 failed, 8 tools"},
        "many": {"state": "on", "text": "Local bridges connected: 2 of 3, 6 servers, 28 tools"},
    }  # fmt: skip


def test_a_conversation_out_of_events() -> None:
    """The model alone: overlapping replays, a second attempt, an answer that the deltas do not make up."""
    assert run("conversation") == {
        "seen": [True, True, True, False, False], "half": "Hel", "kinds": ["text", "tool", "text"],
        "kept": ["text", "tool", "text"], "last": "other", "tools": 1,
        "shown": ["a", "U+202E", "b", "U+E0041", ""], "tamed": "⟨U+202E⟩xא",
    }  # fmt: skip
