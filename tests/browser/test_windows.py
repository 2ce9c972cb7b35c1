"""What people do with windows: paste a link over the address, open two, reload, leave a cursor somewhere, wait."""

import asyncio
import json
from contextlib import suppress

import pytest

from tests.browser.conftest import House
from tests.browser.driving import BrowserError, Page
from tests.e2e.gateway_process import ALICE, Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED = "document.querySelectorAll('dialog.small-dialog[open]').length"
LOOK = "document.dispatchEvent(new Event('visibilitychange')); undefined"  # what the page does every 15 seconds


async def looked(page: Page) -> None:
    """The page has read its lists anew."""
    await page.evaluate("window.read = false; undefined")
    await page.evaluate(LOOK)
    await asyncio.sleep(0.4)


async def paste(page: Page, url: str) -> None:
    """Put `url` over the address; returns when the page was loaded anew by it."""
    await page.evaluate("window.before = true; undefined")
    await page.do("goto", url=url)
    async with asyncio.timeout(10):
        while True:
            with suppress(BrowserError):  # in between there is no page to ask
                if await page.evaluate("!window.before && document.documentElement.dataset.connection === 'connected'"):
                    return
            await asyncio.sleep(0.05)


async def test_a_login_link_pasted_over_the_address(house: House) -> None:
    """In a window that is open already nothing is loaded anew by it: only the fragment changes."""
    async with house.browser.page() as page:
        await page.do("goto", url=house.gateway.url)
        await page.see(".login")
        await paste(page, await house.invitation("paster"))
        assert await page.evaluate("location.href") == house.gateway.url + "/"
        await paste(page, await house.invitation("another"))
        await page.do("goto", url=house.gateway.url + "/#/settings")
        await page.see("p:has-text('Signed in as another')")
        await page.do("goto", url=house.gateway.url + "/#login=used-up-or-wrong")
        await page.see(".toast:has-text('used up')")
        assert "#login" not in await page.evaluate("location.href")


async def test_what_is_too_long_for_a_message_stays_in_the_box(house: House) -> None:
    """The gateway would close the connection over it; it was sent again with every connection that followed."""
    async with house.visit() as page:
        await page.evaluate(
            "(() => { const box = document.querySelector('#message'); box.value = '汉'.repeat(400_000); "
            "box.dispatchEvent(new Event('input')); })()"
        )
        await page.press("Enter", "#message")
        await page.see(".toast:has-text('too long')")
        assert await page.evaluate("document.querySelector('#message').value.length") == 400_000
        assert await page.evaluate("document.querySelectorAll('.turn').length") == 0
        await page.say("hello")
        await page.answered()
        assert len((await page.do("seen"))["sockets"]) == 1


async def test_a_question_is_asked_once_and_over_everywhere(house: House) -> None:
    async with house.visit("asked") as page, house.visit("asked") as other:
        await page.say("use real_paint {}")
        await page.see("dialog label:has-text('colour')")
        await other.see("dialog label:has-text('colour')")
        await page.do("reload")
        await page.see("dialog label:has-text('colour')")
        await asyncio.sleep(0.3)
        assert await page.evaluate(ASKED) == 1
        await page.fill("dialog input", "blue")
        await page.press("Enter", "dialog input")
        await page.answered()
        assert "accept blue" in await page.last_answer()
        await other.see("dialog.small-dialog", gone=True)
        # what the page reads again has the question in it, and its answer
        await page.do("reload")
        await page.answered()
        await asyncio.sleep(0.3)
        assert await page.evaluate(ASKED) == 0


async def test_the_focus_stays_in_the_side_bar(house: House) -> None:
    async with house.visit() as page:
        await page.say("hello")
        await page.answered()
        for selector in (".row-tools button:last-child", ".pages li:last-child a", ".sessions a"):
            await page.see(selector)
            await page.evaluate(f"document.querySelector('{selector}').focus(); undefined")
            await page.evaluate(  # something to draw: another conversation
                "(async () => { const socket = new WebSocket(`ws://${location.host}/ws`); "
                "await new Promise((opened) => { socket.onopen = opened; }); "
                "socket.send(JSON.stringify({jsonrpc: '2.0', id: 1, method: 'chat.send', "
                f"params: {{text: '/help', session_key: 'beside {selector}'}}}})); "
                "await new Promise((told) => { "
                "socket.onmessage = (event) => { if (JSON.parse(event.data).id === 1) told(); }; }); "
                "socket.close(); })()"
            )
            rows = await page.evaluate("document.querySelectorAll('.sessions > li').length")
            await page.evaluate(LOOK)
            await page.until(f"document.querySelectorAll('.sessions > li').length > {rows - 1}")
            await looked(page)
            assert await page.evaluate("document.querySelector('#side').contains(document.activeElement)"), selector
        # and where nothing changed, nothing is drawn
        await page.evaluate("window.there = document.querySelector('.sessions > li'); undefined")
        await looked(page)
        assert await page.evaluate("window.there.isConnected")


async def test_a_wrong_clock_hides_no_question(house: House) -> None:
    async with house.visit() as page:
        await page.evaluate("(() => { const now = Date.now; Date.now = () => now() + 7_200_000; })()")
        await page.say("use notes_append_line " + json.dumps({"line": "late"}))
        await page.see("dialog.approval[open]")
        await asyncio.sleep(0.7)  # the countdown has looked again
        await page.see("dialog.approval[open]")
        await page.press("Escape")
        await page.answered()


async def test_every_state_of_a_channel_has_a_word(house: House) -> None:
    async with house.browser.page(locale="zh-CN") as page:
        async with await house.admin() as client:
            code = (await client.call("user.invite", user="admin"))["code"]
        await page.login(f"{house.gateway.url}/#login={code}")
        await page.evaluate(
            "(() => { const real = fetch; window.fetch = async (...given) => { const reply = await real(...given); "
            "if (given[0] !== '/status') return reply; const state = await reply.json(); state.channels = "
            "Object.fromEntries('off starting ready degraded failed'.split(' ').map((name) => [name, {state: name}])); "
            "return new Response(JSON.stringify(state)); }; })()"
        )
        await page.evaluate("location.hash = '#/admin'")
        await page.see("td:has-text('degraded')")
        rows = "[...document.querySelectorAll('.card tbody tr')].slice(0, 5)"
        told = await page.evaluate(f"{rows}.map((row) => row.children[1].innerText)")
        assert told == ["关闭", "启动中", "就绪", "异常", "失败"]


async def test_more_conversations_than_can_be_asked_for_at_once(house: House) -> None:
    async with Client(house.gateway.ws, ALICE) as client:
        for hundred in range(6):
            names = [f"many {hundred * 100 + n}" for n in range(100)]
            await asyncio.gather(*(client.call("chat.send_stream", text="/help", session_key=name) for name in names))
    async with house.visit("alice") as page:
        rows = "document.querySelectorAll('.sessions > li').length"
        for count in range(100, 601, 50):
            await page.evaluate("document.querySelector('.side-scroll > button').click(); undefined")
            await page.until(f"{rows} >= {count}", seconds=40)
        await looked(page)
        assert await page.evaluate(rows) >= 600
        names = await page.evaluate("[...document.querySelectorAll('.sessions a')].map((link) => link.href)")
        assert len(names) == len(set(names))


async def test_the_drawer_by_keyboard(house: House) -> None:
    """On a phone with a keyboard, or a narrow window: the focus goes in, stays in, and comes back."""
    async with house.visit(width=360, height=700) as page:
        inside = "document.querySelector('#side').contains(document.activeElement)"
        await page.press("Control+k")
        assert await page.evaluate("document.activeElement.id") == "search"
        for _ in range(12):
            await page.press("Tab")
            assert not await page.evaluate("document.querySelector('main').contains(document.activeElement)")
        await page.evaluate("document.querySelector('#search').focus(); undefined")
        await page.press("Escape")
        assert await page.evaluate("document.activeElement.getAttribute('aria-controls')") == "side"
        await page.press("Enter")
        await page.until(inside)
        await page.accessible()
        await page.click("#side [aria-label=Close]")
        assert await page.evaluate("document.activeElement.getAttribute('aria-controls')") == "side"
        await page.say("hello")
        await page.answered()


async def test_a_file_that_is_dropped_is_attached(house: House) -> None:
    """And does not take the page's place, as a browser would have it."""
    async with house.visit() as page:
        dropped = (
            "(() => { const data = new DataTransfer(); data.items.add(new File(['hi'], 'dropped.txt')); "
            "return ['dragover', 'drop'].map((kind) => !document.querySelector('.log').dispatchEvent("
            "new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }))); })()"
        )
        assert await page.evaluate(dropped) == [True, True]
        await page.until("document.querySelectorAll('.chips li:not(.busy)').length === 1")
        assert "dropped.txt" in await page.text(".chips")
        words = (
            "(() => { const data = new DataTransfer(); data.setData('text/plain', 'hi'); "
            "return document.querySelector('#message').dispatchEvent("
            "new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); })()"
        )
        assert await page.evaluate(words) is True, "text is dropped where it always was"


async def test_a_file_that_was_not_taken_is_in_no_draft_either(house: House) -> None:
    """Its upload fails while another conversation is open: the first one could never be sent from again."""
    async with house.visit() as page:
        await page.say("hello")
        await page.answered()
        await page.evaluate(
            "(() => { const real = fetch; window.fetch = (url, given) => url !== '/api/v1/media' ? real(url, given) : "
            "new Promise((_, refuse) => { window.refuse = () => refuse(new Error('cut')); }); })()"
        )
        file = {"name": "a.txt", "mimeType": "text/plain", "base64": "aGk="}
        await page.do("files", selector="input[type=file]", files=[file])
        await page.see(".chips li.busy")
        here = await page.evaluate("document.querySelector('.sessions .current a').getAttribute('href')")
        await page.click("#new-chat")
        await page.see(".welcome")
        await page.evaluate("window.refuse(); undefined")
        await page.see(".toast:has-text('a.txt was not taken')")
        await page.evaluate(f"location.hash = {here!r}")
        await page.until("document.querySelectorAll('.turn').length === 1")
        assert await page.evaluate("document.querySelectorAll('.chips li').length") == 0
        await page.say("hello again")
        await page.answered()
