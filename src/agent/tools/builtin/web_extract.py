"""The worker of `web_fetch`: HTML on stdin, `{"title", "text"}` on stdout. A process of its own for each page.

With `trafilatura` (extra `web`) the article alone; without it everything that a reader would see.
"""

import json
import sys
from contextlib import suppress
from html.parser import HTMLParser

MEMORY_BYTES = 1_536 * 1024 * 1024
CPU_SECONDS = 20

_HIDDEN = frozenset(
    {"script", "style", "noscript", "template", "svg", "head", "iframe", "object", "nav", "footer", "form"}
)
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "table", "ul", "ol",
     "blockquote", "pre", "hr", "dt", "dd", "main", "header", "td", "th"}
)  # fmt: skip


class _Reader(HTMLParser):
    """Collects what is visible."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self._hidden: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = True
        if tag in _HIDDEN and len(self._hidden) < 100:
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self.parts.append(data)


def simple(html: str) -> tuple[str, str]:
    """Title and visible text, by the standard library alone."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return " ".join(reader.title.split()), "\n".join(line for line in lines if line)


def extract(html: str) -> tuple[str, str]:
    """Title and text; the simple way where trafilatura is missing, fails or finds nothing."""
    title, text = simple(html)
    try:
        import trafilatura
    except ImportError:
        return title, text
    try:
        found = trafilatura.extract(html, output_format="markdown", include_links=True, include_tables=True)
    except Exception:  # whatever a stranger's page does to the library, there is the simple way
        found = None
    return title, found or text


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    limits = ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0))
    for name, most in limits:
        with suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS on some versions; the time-out remains
            resource.setrlimit(name, (most, most))


def main() -> None:
    """Read, extract, write."""
    _limit()
    data = sys.stdin.buffer.read()
    charset = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else _declared(data)
    try:
        html = data.decode(charset, "replace")
    except LookupError:
        html = data.decode("utf-8", "replace")
    title, text = extract(html)
    sys.stdout.buffer.write(json.dumps({"title": title[:500], "text": text}).encode("ascii"))


def _declared(data: bytes) -> str:
    """The charset that the page itself declares in its first 2 KiB (WHATWG HTML 13.2.3.2), else UTF-8."""
    import re

    found = re.search(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([A-Za-z0-9_:-]{1,40})""", data[:2048], re.IGNORECASE)
    return found[1].decode("ascii") if found else "utf-8"


if __name__ == "__main__":
    main()
