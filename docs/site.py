"""docs/ as web pages: `make site` writes site/, and fails where a link, an anchor or an image leads nowhere.

    python docs/site.py [TARGET]

Plain HTML by markdown-it, one stylesheet, no script, nothing from elsewhere. Pages that nobody links to are a mistake
too: `docs/index.md` is where one begins.
"""

import html
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OUTSIDE = {"README.md": "index.html", "README.zh.md": "index.html"}
STYLE = """\
:root { color-scheme: light dark; --line: light-dark(#ddd, #444); --soft: light-dark(#f5f5f5, #222); }
body { font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", sans-serif; margin: 0; display: flex; flex-wrap: wrap; }
nav { flex: 0 0 13rem; padding: 1.5rem; border-right: 1px solid var(--line); box-sizing: border-box; }
nav a { display: block; padding: .15rem 0; text-decoration: none; }
nav a[aria-current] { font-weight: 700; }
main { flex: 1 1 30rem; max-width: 56rem; padding: 1.5rem 2rem; min-width: 0; box-sizing: border-box; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; border-radius: 6px; line-height: 1.4; }
code { font-family: ui-monospace, "Cascadia Code", Menlo, monospace; font-size: .9em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; }
"""
PAGE = """\
<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'; style-src 'self'">
<title>{title} · busgate</title><link rel="stylesheet" href="{up}style.css"></head>
<body>
<nav aria-label="Pages">
{menu}</nav>
<main>
{body}</main>
</body>
</html>
"""


@dataclass
class Page:
    """One Markdown file. `name` is its path below docs/."""

    name: str
    tokens: list[Token]
    title: str = ""
    anchors: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    """What it shows of the tree outside docs/."""

    @property
    def target(self) -> str:
        return self.name.removesuffix(".md") + ".html"


def parser() -> MarkdownIt:
    """CommonMark with tables; HTML stays, for it is ours."""
    return MarkdownIt("commonmark").enable("table")


def anchor(text: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def read(path: Path) -> Page:
    """Parse one page and note its headings."""
    page = Page(path.relative_to(DOCS).as_posix(), parser().parse(path.read_text(encoding="utf-8")))
    for opening, inline in zip(page.tokens, page.tokens[1:], strict=False):
        if opening.type != "heading_open":
            continue
        text = "".join(each.content for each in inline.children or () if each.type in ("text", "code_inline"))
        name, number = anchor(text), 0
        while name in page.anchors:
            number += 1
            name = f"{anchor(text)}-{number}"
        page.anchors.add(name)
        opening.attrSet("id", name)
        if opening.tag == "h1" and not page.title:
            page.title = text
    return page


def resolve(page: Page, link: str, pages: dict[str, Page], problems: list[str]) -> str:
    """Where a link of a page leads on the site; what is wrong goes to `problems`."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    if not parts.path:
        if unquote(parts.fragment) not in page.anchors:
            problems.append(f"{page.name}: there is no #{parts.fragment} here")
        return link
    path = ((DOCS / page.name).parent / unquote(parts.path)).resolve()
    if not path.exists() or not path.is_relative_to(ROOT):
        problems.append(f"{page.name}: {link} leads nowhere")
        return link
    if not path.is_relative_to(DOCS):
        inside = path.relative_to(ROOT).as_posix()
        if inside not in OUTSIDE and path.is_file():
            page.files.add(inside)
        elif inside not in OUTSIDE:
            problems.append(f"{page.name}: {link} is a folder")
        return "../" * page.name.count("/") + OUTSIDE.get(inside, f"tree/{inside}")
    name = path.relative_to(DOCS).as_posix()
    if name not in pages:
        if path.suffix == ".md":
            problems.append(f"{page.name}: {link} is no page")
        return link
    page.links.add(name)
    if parts.fragment and unquote(parts.fragment) not in pages[name].anchors:
        problems.append(f"{page.name}: {name} has no #{parts.fragment}")
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return "../" * page.name.count("/") + pages[name].target + fragment


def relink(page: Page, pages: dict[str, Page], problems: list[str]) -> None:
    """Let every link and image of a page lead to where it is on the site."""
    for token in page.tokens:
        for child in token.children or ():
            for name in ("href", "src"):
                value = child.attrGet(name)
                if value is not None:
                    child.attrSet(name, resolve(page, str(value), pages, problems))
            if child.type == "image" and not child.content:
                problems.append(f"{page.name}: an image without words")
        if token.type in ("html_block", "inline"):
            for source in re.findall(r'<img[^>]*\ssrc="([^"]+)"', token.content):
                resolve(page, source, pages, problems)


def build(target: Path) -> list[str]:
    """Write the site; what is wrong with it."""
    pages = {page.name: page for page in map(read, sorted(DOCS.rglob("*.md")))}
    problems: list[str] = []
    for page in pages.values():
        if not page.title:
            problems.append(f"{page.name}: no heading of the first level")
        relink(page, pages, problems)
    seen, ahead = set(), ["index.md"]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += pages[name].links
    problems += [f"{name}: nobody leads here from index.md" for name in sorted(set(pages) - seen)]
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    (target / "style.css").write_text(STYLE, encoding="utf-8")
    for page in pages.values():
        path = target / page.target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(page, pages), encoding="utf-8")
        for name in page.files:
            (target / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / "tree" / name)
    if (DOCS / "images").is_dir():
        shutil.copytree(DOCS / "images", target / "images")
    return problems


def render(page: Page, pages: dict[str, Page]) -> str:
    """One page as HTML, with the menu of all."""
    up = "../" * page.name.count("/")
    order = ["index.md", *sorted(set(pages) - {"index.md"}, key=lambda name: (name.count("/"), name))]
    menu = ""
    for name in order:
        here = ' aria-current="page"' if name == page.name else ""
        menu += f'<a href="{up}{pages[name].target}"{here}>{html.escape(pages[name].title)}</a>\n'
    body = parser().renderer.render(page.tokens, parser().options, {})
    language = "zh" if page.name.endswith(".zh.md") else "en"
    return PAGE.format(language=language, title=html.escape(page.title), up=up, menu=menu, body=body)


def main() -> int:
    """Exit code 1 with one line for each thing that is wrong."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    problems = build(target)
    for problem in problems:
        sys.stderr.write(problem + "\n")
    if not problems:
        sys.stdout.write(f"wrote {target}/index.html\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
