"""One browser and one gateway for all of these tests; a person and a page for each.

`MAKE_IMAGES=1` keeps pictures in docs/images.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.driving import Browser, Page, chromium
from tests.e2e.gateway_process import Client, GatewayProcess, gateway_process

PICTURE_SERVER = str(Path(__file__).parent.parent / "fakes" / "picture_server.py")
REAL = str(Path(__file__).parent.parent / "bridge" / "real_server.py")
EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")
PICTURES = bool(os.environ.get("MAKE_IMAGES"))


@dataclass
class House:
    """A running gateway, as a person with a browser comes to it."""

    gateway: GatewayProcess
    browser: Browser
    effects: Path
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def admin(self) -> Client:
        token = (self.gateway.home / "admin.token").read_text().strip()
        return Client(self.gateway.ws, token)

    async def tools(self, *names: str) -> None:
        """Wait until the tool servers are up."""
        async with asyncio.timeout(60), await self.admin() as client:
            while not {tool["name"] for tool in (await client.call("tools.list"))["tools"]} >= set(names):
                await asyncio.sleep(0.1)

    async def invitation(self, user: str = "alice", *, port: int | None = None) -> str:
        """A login link for `user`."""
        async with await self.admin() as client:
            code = (await client.call("user.invite", user=user))["code"]
        origin = self.gateway.url if port is None else f"http://127.0.0.1:{port}"
        return f"{origin}/#login={code}"

    @asynccontextmanager
    async def visit(self, user: str = "", **options: object) -> AsyncIterator[Page]:
        """`user` (or somebody new) with the chat open; in the end the console is empty and nothing went elsewhere."""
        user = user or f"visitor{next(self.numbers)}"
        async with self.browser.page(**options) as page:
            page.user = user
            await page.login(await self.invitation(user))
            yield page
            await page.quiet(self.gateway.url)


Picture = Callable[[Page, str], Awaitable[None]]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A gateway with the demo model, and with a tool server of its own that asks before everything."""
    folder = tmp_path_factory.mktemp("house")
    effects = folder / "effects"
    servers: list[dict[str, object]] = [
        {"name": "notes", "command": sys.executable, "args": [EFFECTS, str(effects)], "tools": {"ask": ["*"]}}
    ]
    servers.append({"name": "real", "command": sys.executable, "args": [REAL, "stdio"]})
    servers.append({"name": "art", "command": sys.executable, "args": [PICTURE_SERVER]})
    settings = {
        "mcp_servers": servers, "limits": {"drain_seconds": 0.2, "messages_per_minute": 0},
        "budgets": {"daily_tokens": 200_000},
    }  # fmt: skip
    async with gateway_process(folder / "home", settings) as gateway:
        gateway.configuration["server"]["port"] = int(gateway.url.rsplit(":", 1)[1])
        found = House(gateway, browser, effects)
        await found.tools("notes_append_line", "real_paint", "art_draw")
        yield found


@pytest.fixture
def picture() -> Picture:
    """Keeps a picture where pictures were asked for."""

    async def keep(page: Page, name: str) -> None:
        if PICTURES:
            await asyncio.sleep(0.5)  # what fades in has come
            await page.picture(name)

    return keep
