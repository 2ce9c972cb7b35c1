"""Tools in the browser: asking, the person's own computer, its pairing."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bridge.test_app import BridgeProcess
from tests.browser.conftest import EFFECTS, House, Picture
from tests.browser.driving import Page
from tests.e2e.gateway_process import ALICE, BOB

pytestmark = pytest.mark.asyncio(loop_scope="session")


def done(house: House) -> list[str]:
    return house.effects.read_text().splitlines() if house.effects.exists() else []


async def ask_for(page: Page, line: str) -> None:
    await page.say("use notes_append_line " + json.dumps({"line": line}, ensure_ascii=False))
    await page.see("dialog.approval[open]")


async def test_a_tool_card(house: House, picture: Picture) -> None:
    async with house.visit() as page:
        await page.say("what time is it?")
        await page.answered()
        await page.see(".tool-card[data-state=done]")
        assert await page.text(".tool-name") == "clock"
        await page.click(".tool summary")
        await page.see(".tool-detail pre:has-text('weekday')")
        await page.accessible()


async def test_denied_and_allowed(house: House, picture: Picture) -> None:
    """The focus is on Deny; Escape denies; nothing runs without a yes, and one yes is for one call."""
    async with house.visit() as page:
        await ask_for(page, "by escape")
        assert await page.evaluate("document.activeElement.innerText") == "Deny"
        assert await page.evaluate("document.querySelector('[data-decision=allow_once]').disabled") is True
        assert re.search(r"\d+ (s|min) left", await page.text(".countdown"))
        assert await page.text(".arguments pre") == "by escape"
        await page.accessible()
        await picture(page, "approval")
        await page.press("Escape")
        await page.answered()
        assert done(house) == []
        await page.see(".tool-state:has-text('denied')")
        await ask_for(page, "by enter")
        await page.press("Enter")  # on Deny
        await page.answered()
        assert done(house) == []
        await ask_for(page, "once")
        await page.click("[data-decision=allow_once]")
        await page.answered()
        assert done(house) == ["once"] and "appended once" in await page.last_answer()
        await ask_for(page, "always")
        await page.click("[data-decision=allow_always]")
        await page.answered()
        await page.say('use notes_append_line {"line": "unasked"}')
        await page.answered()
        assert done(house) == ["once", "always", "unasked"]
        # what was allowed for good is listed, and can be taken back
        await page.evaluate("location.hash = '#/settings'")
        await page.see("td:has-text('notes_append_line')")
        await page.accessible()
        await page.click("tr:has-text('notes_append_line') .danger")
        await page.see("td:has-text('notes_append_line')", gone=True)
        await page.evaluate("location.hash = '#/'")
        await ask_for(page, "asked again")
        await page.click(".approval .danger")
        await page.answered()
        assert done(house) == ["once", "always", "unasked"]


async def test_hidden_characters_are_shown(house: House, picture: Picture) -> None:
    async with house.visit() as page:
        await ask_for(page, "harmless\u202e txt.exe\u200b")
        marks = await page.evaluate(
            "[...document.querySelectorAll('.approval .hidden-char')].map((mark) => mark.innerText)"
        )
        assert marks == ["U+202E", "U+200B"]
        assert "Hidden characters" in await page.text(".approval .problem")
        await picture(page, "approval-hidden")
        await page.click(".approval .danger")
        await page.answered()


async def test_answered_elsewhere_and_asked_in_two_windows(house: House) -> None:
    async with house.visit("pair") as page, house.visit("pair") as other:
        await ask_for(page, "elsewhere")
        await other.see("dialog.approval[open]")
        await other.click(".approval .danger")
        await page.see("dialog.approval", gone=True)
        await page.answered()
        # a page that is opened later is asked too
        await ask_for(page, "later")
        await other.do("reload")
        await other.see("dialog.approval[open]")
        await other.click(".approval .danger")
        await page.answered()


@asynccontextmanager
async def laptop(house: House, folder: Path, token: str = ALICE, **more: Any) -> AsyncIterator[BridgeProcess]:
    bridge = BridgeProcess(folder / "laptop", house.gateway.url.replace("http", "ws", 1) + "/tunnel", token)
    bridge.write({"effects": {"command": sys.executable, "args": [EFFECTS, str(folder / "traces")]}}, **more)
    bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()


async def test_only_the_laptop_itself_may_allow(house: House, tmp_path: Path) -> None:
    """`policy.confirm: local`: the page shows what to run there, and offers nothing but Deny."""
    async with house.visit("bob") as page, laptop(house, tmp_path, BOB, policy={"default": "ask", "confirm": "local"}):
        await page.until("document.querySelector('#badge').innerText.includes('2 tools')", seconds=20)
        await page.say('use effects_append_line {"line": "locally"}')
        await page.see("dialog.approval[open]")
        assert "ai-bridge approve" in await page.text(".approval > pre")
        assert await page.evaluate("document.querySelectorAll('.approval [data-decision]').length") == 0
        assert "laptop" in await page.text("#approval-tool")
        await page.press("Escape")
        await page.answered()
        assert not (tmp_path / "traces").exists()


async def test_a_tool_asks_the_person(house: House) -> None:
    """Elicitation: a form out of the server's schema, answered and declined."""
    async with house.visit() as page:
        await page.say("use real_paint {}")
        await page.see("dialog label:has-text('colour')")
        await page.accessible()
        await page.fill("dialog input", "blue")
        await page.press("Enter", "dialog input")
        await page.answered()
        assert "accept blue" in await page.last_answer()
        await page.say("use real_paint {}")
        await page.see("dialog label:has-text('colour')")
        await page.press("Escape")
        await page.answered()
        assert "cancel" in await page.last_answer()


async def test_files_that_tools_give(house: House) -> None:
    """Shown when they come, and again out of the history."""
    async with house.visit() as page:
        await page.say("use art_draw {}")
        await page.answered()
        await page.until("document.querySelector('.tool-card img')?.naturalWidth === 64")
        await page.say("use art_report {}")
        await page.answered()
        assert await page.text(".tool-card .file-name") == "report.html"
        async with house.visit(page.user) as later:
            await later.until("document.querySelector('.tool-card img')?.naturalWidth === 64")
            await later.see(".tool-card .file-name")


async def test_progress_of_a_tool(house: House) -> None:
    async with house.visit() as page:
        await page.say('use real_slow {"seconds": 0.8}')
        await page.see(".tool-told:has-text('half')")
        assert "1 of 2" in await page.text(".tool-told")
        await page.answered()
        assert "slept" in await page.last_answer()


async def badge(page: Page, state: str) -> str:
    await page.until(f"document.querySelector('#badge').dataset.state === '{state}'", seconds=20)
    return await page.text("#badge")


async def test_a_bridge_comes_and_goes(house: House, picture: Picture, tmp_path: Path) -> None:
    async with house.visit("alice") as page:
        assert await badge(page, "none") == "No local bridge"
        async with laptop(house, tmp_path):
            await badge(page, "on")
            await page.until("document.querySelector('#badge').innerText.includes('2 tools')", seconds=20)
            told = await page.text("#badge")
            assert re.fullmatch(r"Local bridge connected: laptop, 1 server, 2 tools(, \d+ ms)?", told)
            await page.say('use effects_append_slowly {"line": "from the browser", "seconds": 0.2}')
            await page.answered()
            assert (tmp_path / "traces").read_text() == "from the browser\n"
            await page.click("#badge")
            await page.see(".bridge[data-connected=true]")
            await page.see("td code:has-text('effects_append_slowly')")
            await page.click(".bridge details summary")
            await page.see(".tools code:has-text('effects_append_line')")
            await page.accessible()
            await picture(page, "bridge")
        assert await badge(page, "away") == "Local bridge reconnecting: laptop"
        async with laptop(house, tmp_path) as bridge:
            await badge(page, "on")
            await page.click(".bridge .danger")
            await page.click("dialog .danger")
            assert await badge(page, "none") == "No local bridge"
            assert bridge.process is not None
            async with asyncio.timeout(20):
                while bridge.process.poll() is None:
                    await asyncio.sleep(0.05)


async def test_a_laptop_is_paired_by_its_code(house: House) -> None:
    async with house.visit() as page, aiohttp.ClientSession() as http:
        await page.click("#badge")
        await page.fill("#pair-code", "AAAA-AAAA")
        await page.press("Enter", "#pair-code")
        await page.see(".note:has-text('That did not work')")
        asked = {"name": "study <b>", "os": "linux"}
        async with http.post(house.gateway.url + "/api/v1/bridge/pair", json=asked) as reply:
            given = await reply.json()
        await page.fill("#pair-code", given["code"].lower())
        await page.press("Enter", "#pair-code")
        await page.see(".note:has-text('Paired')")
        async with http.get(f"{house.gateway.url}/api/v1/bridge/pair/{given['pair_id']}") as reply:
            assert (await reply.json())["status"] == "confirmed"
        await page.see("h2:has-text('study <b>')")
        await badge(page, "off")
