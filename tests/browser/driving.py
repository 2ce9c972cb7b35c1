"""Headless Chromium as the tests drive it: a Node process at two pipes, with `playwright-core` in it.

What is missing on a machine fails with the one command that helps; nothing is skipped.
"""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WEBUI = ROOT / "webui"
IMAGES = ROOT / "docs" / "images"


class Missing(AssertionError):
    """The machine lacks something."""


def need_node() -> str:
    """Node, and the packages of `webui/` installed as its lock file says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("Node is missing. Run: apt-get install -y nodejs npm")
    installed, wanted = WEBUI / "node_modules" / ".package-lock.json", WEBUI / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=WEBUI, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip
        if done.returncode:
            raise Missing(f"npm could not install what webui/ needs. Run: npm --prefix webui ci\n{done.stderr[-2000:]}")
    return node


def need_chromium() -> str:
    """Chromium's program."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise Missing("Chromium is missing. Run: apt-get install -y chromium")


class BrowserError(AssertionError):
    """A step did not come about."""


class Browser:
    """The process. `page()` opens a page in a context of its own, as another person's browser would be."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._names = itertools.count(1)

    async def run(self) -> None:
        """Read answers until the process is gone."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer.get("id"), None)
            if future is None or future.done():
                continue
            if "error" in answer:
                future.set_exception(BrowserError(answer["error"]))
            else:
                future.set_result(answer["result"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BrowserError("the browser is gone"))

    async def do(self, does: str, **given: Any) -> Any:
        assert self._process.stdin is not None
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "does": does, **given}).encode() + b"\n")
        async with asyncio.timeout(40):
            return await future

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator["Page"]:
        page = Page(self, f"page{next(self._names)}")
        await page.do("open", **options)
        try:
            yield page
        finally:
            await page.do("close")


class Page:
    """One page. Selectors are Playwright's."""

    def __init__(self, browser: Browser, name: str) -> None:
        self._browser = browser
        self._name = name
        self.user = ""
        """Who is logged in, for a second window of the same person."""

    async def do(self, does: str, **given: Any) -> Any:
        return await self._browser.do(does, page=self._name, **given)

    async def click(self, selector: str) -> None:
        await self.do("click", selector=selector)

    async def fill(self, selector: str, text: str) -> None:
        await self.do("fill", selector=selector, text=text)

    async def press(self, key: str, selector: str | None = None) -> None:
        await self.do("press", key=key, **({"selector": selector} if selector else {}))

    async def see(self, selector: str, *, gone: bool = False, seconds: float = 10) -> None:
        await self.do("see", selector=selector, state="hidden" if gone else "visible", seconds=seconds)

    async def text(self, selector: str) -> str:
        return str(await self.do("text", selector=selector))

    async def until(self, code: str, seconds: float = 10) -> None:
        await self.do("until", code=code, seconds=seconds)

    async def evaluate(self, code: str) -> Any:
        return await self.do("evaluate", code=code)

    async def picture(self, name: str) -> None:
        IMAGES.mkdir(parents=True, exist_ok=True)
        await self.do("picture", path=str(IMAGES / f"{name}.png"))

    async def login(self, url: str) -> None:
        """Open the page by a login link and wait for the chat."""
        await self.do("goto", url=url)
        await self.see("#message")
        await self.until("document.documentElement.dataset.connection === 'connected'")

    async def say(self, text: str) -> None:
        """Write and send; the message is in the log afterwards."""
        there = await self.evaluate("document.querySelectorAll('.turn').length")
        await self.fill("#message", text)
        await self.press("Enter", "#message")
        await self.until(f"document.querySelectorAll('.turn').length > {there}")

    async def answered(self, seconds: float = 15) -> None:
        """The last turn is whole."""
        await self.until(
            "document.querySelector('.turn:last-child')?.dataset.state === 'done' && "
            "document.querySelector('.turns').getAttribute('aria-busy') === 'false'", seconds,
        )  # fmt: skip

    async def last_answer(self) -> str:
        return str(await self.evaluate("document.querySelector('.turn:last-child .parts').innerText"))

    async def quiet(self, origin: str, *, allowed: tuple[str, ...] = ()) -> None:
        """Nothing on the console, no request to anywhere else, no dialog, no window."""
        seen = await self.do("seen")
        errors = [error for error in seen["errors"] if not any(word in error for word in allowed)]
        assert errors == [] and seen["dialogs"] == []
        strangers = [url for url in seen["requests"] if not url.startswith((origin + "/", "data:", "blob:" + origin))]
        assert strangers == []
        assert all(url == origin.replace("http", "ws", 1) + "/ws" for url in seen["sockets"])

    async def accessible(self) -> None:
        """axe-core finds nothing."""
        found = await self.do("axe")
        assert found == [], json.dumps(found, indent=1, ensure_ascii=False)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A running browser."""
    # What it and its sound library keep for a person goes into the folder too, not into the home of who runs the tests.
    own = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_RUNTIME_DIR": str(folder / "runtime"),
           "XDG_CACHE_HOME": str(folder / "cache")}  # fmt: skip
    for path in own.values():
        Path(path).mkdir(mode=0o700)
    process = await asyncio.create_subprocess_exec(
        need_node(), str(Path(__file__).parent / "driver.mjs"), str(WEBUI), need_chromium(), str(folder / "profile"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * 1024 * 1024, env=os.environ | own,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    async with asyncio.timeout(60):
        ready = await process.stdout.readline()
    if not ready:
        raise BrowserError("Chromium did not start")
    browser = Browser(process)
    reader = asyncio.get_running_loop().create_task(browser.run())
    try:
        yield browser
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader
