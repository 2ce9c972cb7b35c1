"""The generated pages are those that the code makes, and what the pages name exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_defaults_are_told_as_yaml_and_not_as_python():
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for word in ("frozenset", "`None`", "`True`", "`False`", "()`", "SecretStr", "PydanticUndefined"):
        assert word not in text, word


def test_every_number_that_a_test_carries_is_a_case_of_the_list():
    listed = {int(number) for number in re.findall(r"(?m)^\| (\d+) \|", (ROOT / "docs/attacks.md").read_text())}
    carried = {
        int(number)
        for path in (ROOT / "tests").rglob("*.py")
        for number in re.findall(r"mark\.attack\((\d+)\)", path.read_text(encoding="utf-8"))
    }
    assert len(listed) == 97 and carried <= listed
    assert len(carried) > 60


def test_links_between_files_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(pages) >= 4
    missing = []
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith("mailto:") and not (page.parent / link).exists():
                missing.append(f"{page.relative_to(ROOT)}: {link}")
    assert not missing


def site(target: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "docs/site.py", str(target)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_site_builds_without_a_warning(tmp_path: Path):
    done = site(tmp_path / "site")
    assert done.returncode == 0 and not done.stderr, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) == len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and 'src="http' not in text
        for link in re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_site_names_what_leads_nowhere(tmp_path: Path):
    copied = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", copied, ignore=shutil.ignore_patterns("images", "*.png"))
    for page in copied.rglob("*.md"):
        page.unlink()
    (copied / "index.md").write_text("# A\n\n[b](b.md#there) [c](missing.md) [d](#nowhere)\n")
    (copied / "b.md").write_text("# B\n")
    (copied / "alone.md").write_text("no heading\n")
    done = subprocess.run(
        [sys.executable, str(copied / "site.py"), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    for word in ("b.md has no #there", "missing.md leads nowhere", "no #nowhere here", "alone.md: nobody leads here",
                 "alone.md: no heading"):  # fmt: skip
        assert word in done.stderr, word


def test_commands_in_the_readme_exist():
    from bridge.cli.root import app
    from gateway.cli.root import COMMANDS

    lent = {each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands}
    lent |= {each.name for each in app.registered_groups}
    for page in (*ROOT.glob("README*.md"), ROOT / "docs/deployment.md", ROOT / "docs/cost.md", ROOT / "docs/agent.md"):
        text = page.read_text(encoding="utf-8")
        for program, command in re.findall(r"(?:`|/|^)(gateway|ai-bridge) ([a-z]+)", text, re.MULTILINE):
            assert command in (COMMANDS if program == "gateway" else lent), f"{page.name}: {program} {command}"


def test_the_picture_is_of_the_real_thing(tmp_path: Path):
    text = (ROOT / "docs/images/terminal.svg").read_text(encoding="utf-8")
    assert "gateway" in text and "http://127.0.0.1:8080" in text
    assert set(re.findall(r"https?://[a-z.0-9]+", text)) == {"http://127.0.0.1", "http://www.w3.org"}
