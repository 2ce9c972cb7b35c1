"""The generated pages are those that the code makes, and what the pages name exists."""

import re
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
