"""A conversation in the browser: stopping, losing the connection, editing, files, other channels beside it."""

import asyncio
import base64
import re
from urllib.parse import quote

import pytest

from tests.browser.conftest import House, Picture
from tests.browser.driving import Page
from tests.e2e.gateway_process import ALICE, Client
from tests.fakes.cutting_proxy import CuttingProxy
from tests.fakes.picture_server import png

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = ("WebSocket connection to", "ERR_CONNECTION", "ERR_EMPTY_RESPONSE")
COUNTED = " ".join(str(number) for number in range(1, 301))


async def until_text(page: Page, length: int) -> None:
    await page.until(f"(document.querySelector('.turn:last-child .prose')?.innerText.length ?? 0) > {length}")


async def test_stop_in_the_middle(house: House) -> None:
    async with house.visit() as page:
        await page.say("count to 2000")
        await until_text(page, 30)
        await page.click("#stop")
        await page.answered()
        assert await page.text(".turn .note") == "Stopped"
        assert len(await page.last_answer()) < 3000
        await page.see("#stop", gone=True)
        # by keyboard too
        await page.say("count to 2000")
        await until_text(page, 30)
        await page.press("Escape")
        await page.answered()
        assert await page.evaluate(
            "[...document.querySelectorAll('.turn')].every((turn) => turn.innerText.includes('Stopped'))"
        )


async def test_a_lost_connection_goes_on_in_mid_word(house: House) -> None:
    """Twice cut in one answer, and once while it cannot come back for a while: every word once, in order."""
    async with CuttingProxy(int(house.gateway.url.rsplit(":", 1)[1])) as proxy, house.browser.page() as page:
        await page.login(await house.invitation("mover", port=proxy.port))
        await page.say("count to 300")
        await until_text(page, 40)
        proxy.cut()
        await page.until("document.documentElement.dataset.connection === 'reconnecting'")
        await page.until("document.documentElement.dataset.connection === 'connected'")
        await until_text(page, 250)
        proxy.closed = True
        proxy.cut()
        await page.until("document.documentElement.dataset.connection === 'reconnecting'")
        assert "Trying again" in await page.text(".connection")
        await page.fill("#message", "what did I say?")
        await page.press("Enter", "#message")  # said while nobody listens: sent when somebody does
        await asyncio.sleep(0.3)
        proxy.closed = False
        await page.until("document.documentElement.dataset.connection === 'connected'", seconds=20)
        await page.until("document.querySelectorAll('.turn').length === 2")
        await page.answered()
        answers = await page.evaluate(
            "[...document.querySelectorAll('.turn .parts')].map((answer) => answer.innerText)"
        )
        assert answers[0] == COUNTED
        assert answers[1].count("count to 300") == 1
        await page.quiet(f"http://127.0.0.1:{proxy.port}", allowed=LOST)


async def test_the_gateway_is_killed_in_mid_answer(house: House) -> None:
    """After the restart the answer begins afresh and is there once."""
    async with house.browser.page() as page:
        await page.login(await house.invitation("survivor"))
        await page.say("count to 300")
        await until_text(page, 40)
        await house.gateway.kill()
        await page.until("document.documentElement.dataset.connection === 'reconnecting'")
        await house.gateway.start()
        await page.until("document.documentElement.dataset.connection === 'connected'", seconds=20)
        await page.answered(30)
        assert await page.last_answer() == COUNTED
        assert await page.evaluate("document.querySelectorAll('.turn').length") == 1
        await page.quiet(house.gateway.url, allowed=LOST)


async def test_reading_in_the_middle_of_an_answer(house: House) -> None:
    """A second window opened in mid answer shows all of it."""
    async with house.visit("twice") as page:
        await page.say("count to 300")
        await until_text(page, 60)
        async with house.visit("twice") as second:
            await until_text(second, 60)
            await second.answered()
            assert await second.last_answer() == COUNTED
        await page.answered()
        assert await page.last_answer() == COUNTED


async def test_edit_and_retry(house: House) -> None:
    async with house.visit() as page:
        await page.say("my name is Ada")
        await page.answered()
        await page.say("what is my name?")
        await page.answered()
        assert "Ada" in await page.last_answer()
        await page.do("hover", selector=".turn >> nth=0")
        await page.click(".turn >> nth=0 >> [aria-label='Edit and send again']")
        assert await page.evaluate("document.querySelector('#message').value") == "my name is Ada"
        await page.fill("#message", "my name is Grace")
        await page.press("Enter", "#message")
        await page.until("document.querySelectorAll('.turn').length === 1")
        await page.answered()
        assert "Grace" in await page.last_answer()
        await page.click(".turn:last-child [aria-label='Try again']")
        await page.answered()
        await page.say("what did I say?")
        await page.answered()
        answer = await page.last_answer()
        assert "Grace" in answer and "Ada" not in answer
        await page.do("reload")
        await page.until("document.querySelectorAll('.turn').length === 2")


async def test_sessions_are_found_renamed_and_removed(house: House) -> None:
    async with house.visit() as page:
        await page.say("the blue elephant sings")
        await page.answered()
        await page.click("#new-chat")
        await page.see(".welcome")
        await page.say("something else")
        await page.answered()
        await page.until("document.querySelectorAll('.sessions a').length === 2")
        await page.fill("#search", "elephant sings")
        await page.click(".hit")
        await page.until("document.querySelector('.bubble')?.innerText === 'the blue elephant sings'")
        await page.fill("#search", "")
        await page.click(".sessions .current [aria-label^='Rename']")
        await page.fill("dialog input", "<img src=x onerror=alert(1)>Songs")
        await page.press("Enter", "dialog input")
        await page.until("document.querySelector('.current .session-title')?.innerText.includes('Songs')")
        assert await page.text(".page-title") == "<img src=x onerror=alert(1)>Songs"
        assert await page.evaluate("document.querySelectorAll('.side img, .top img').length") == 0
        await page.click(".sessions .current [aria-label^='Delete']")
        await page.see("dialog .danger")
        assert await page.evaluate("document.activeElement.innerText") == "Cancel"
        await page.click("dialog .danger")
        await page.until("document.querySelectorAll('.sessions a').length === 1")
        await page.see(".welcome")


async def test_files_both_ways_and_a_voice_note(house: House) -> None:
    async with house.visit() as page:
        image = {"name": "sea <b>.png", "mimeType": "image/png", "base64": base64.b64encode(png()).decode()}
        page_file = {
            "name": "evil.html",
            "mimeType": "text/html",
            "base64": base64.b64encode(b"<script>alert(1)</script>").decode(),
        }
        await page.do("files", selector="input[type=file]", files=[image, page_file])
        await page.until("document.querySelectorAll('.chips li:not(.busy)').length === 2")
        await page.say("look at these")
        await page.answered()
        await page.until("document.querySelector('.said img')?.naturalWidth === 64")
        assert await page.text(".said .file-name") == "evil.html"
        url = await page.evaluate("document.querySelector('.said a.file').getAttribute('href')")
        headers = await page.evaluate(f"fetch('{url}').then((r) => [r.status, r.headers.get('content-disposition')])")
        assert headers[0] == 200 and headers[1].startswith("attachment")
        await page.click("#record")
        await page.see("#record[aria-pressed=true]")
        await asyncio.sleep(0.4)
        await page.click("#record")
        await page.until("document.querySelectorAll('.chips li:not(.busy)').length === 1")
        await page.click("#send")
        await page.answered()
        await page.until("document.querySelector('.turn:last-child audio')?.readyState >= 1")
        await page.do("reload")
        await page.until("document.querySelector('.said img')?.naturalWidth === 64")
        await page.see(".said audio")
        # another person's file is not there
        async with house.visit() as other:
            assert await other.evaluate(f"fetch('{url}').then((r) => r.status)") == 404
            await other.do("forget")


async def test_conversations_of_other_channels_live_beside_it(house: House, picture: Picture) -> None:
    async with house.visit("alice") as page, Client(house.gateway.ws, ALICE) as cli:
        await cli.ask("hello from the terminal", session_key="agent:main:cli:direct:alice")
        await page.evaluate(
            "document.dispatchEvent(new Event('visibilitychange'))"
        )  # as when one comes back to the tab
        await page.until(
            "[...document.querySelectorAll('.place')].some((place) => place.innerText.toLowerCase() === 'cli')",
            seconds=25,
        )
        await page.click("text=hello from the terminal")
        await page.until("document.querySelector('.bubble')?.innerText === 'hello from the terminal'")
        await cli.ask("and once more", session_key="agent:main:cli:direct:alice")
        await page.until("document.querySelectorAll('.turn').length === 2")
        await page.answered()
        key = quote("agent:main:cli:direct:alice", safe="")
        assert (await page.evaluate("location.hash")) == f"#/c/{key}"
        # and when it is not open, the list says that there is something new
        await page.click("#new-chat")
        await cli.ask("a third time", session_key="agent:main:cli:direct:alice")
        await page.see(".unread")


async def test_a_team_at_work(house: House) -> None:
    async with house.visit() as page:
        await page.say("/mode multi")
        await page.answered()
        await page.say("tell me a story; count to 5; say hello")
        await page.see(".team li")
        await page.answered()
        rows = await page.evaluate("[...document.querySelectorAll('.team li')].map((row) => row.innerText)")
        assert len(rows) >= 2 and sum("done" in row for row in rows) >= 2


async def test_copying(house: House) -> None:
    async with house.visit() as page:
        await page.say("say ```python\nprint('hello')\n```")
        await page.answered()
        await page.see(".code-frame .hljs-string")
        await page.click(".code-frame [aria-label='Copy']")
        await page.see(".copied")
        assert await page.evaluate("navigator.clipboard.readText()") == "print('hello')"
        await page.say("say | a | b |\n|---|---|\n| 1 | 2 |")
        await page.answered()
        assert re.sub(r"\s+", " ", await page.text(".turn:last-child table")) == "a b 1 2"
        await page.accessible()
