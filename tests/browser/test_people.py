"""The page for everybody: phones, the dark, Chinese, keyboards, administrators."""

import re

import aiohttp
import pytest

from tests.browser.conftest import House, Picture
from tests.browser.driving import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOADED = (
    "(() => { const p = document.querySelector('.page'); return !p.hidden && !p.innerText.includes('Loading'); })()"
)
PAGES = ("bridge", "usage", "settings", "admin")


async def narrow(page: Page) -> None:
    """Nothing is wider than the window."""
    widths = await page.evaluate(
        "[location.hash, document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    )
    assert max(widths[1:]) == 360, widths
    wide = await page.evaluate(
        "[...document.querySelectorAll('.stage *')]"
        ".filter((one) => one.getBoundingClientRect().right > innerWidth + 1)"
        ".filter((one) => !one.closest('.table-frame, pre, .secret, .away')).map((one) => one.className || one.tagName)"
    )
    assert wide == []


async def test_a_phone(house: House, picture: Picture) -> None:
    async with house.visit("admin", width=360, height=740, touch=True) as page:
        await page.say(
            "say # A title\n\nSome `code` and a "
            + "verylongword" * 12
            + "\n\n```python\nx = '"
            + "y" * 200
            + "'\n```\n\n| a | b | c |\n|-|-|-|\n| "
            + "cell " * 12
            + "| 2 | 3 |"
        )
        await page.answered()
        await narrow(page)
        await page.accessible()
        await page.click("[aria-label=Menu]")
        await page.see("#new-chat")
        await picture(page, "phone-menu")
        await page.accessible()
        await page.press("Escape")
        await page.see("#new-chat", gone=True)
        for name in PAGES:
            await page.evaluate(f"location.hash = '#/{name}'")
            await page.until(LOADED)
            await narrow(page)
            await page.accessible()
        await page.evaluate("location.hash = '#/'")
        small = await page.evaluate(
            "[...document.querySelectorAll('.stage button, .stage a')]"
            ".filter((one) => one.offsetParent && one.getBoundingClientRect().height < 24)"
            ".map((one) => one.outerHTML.slice(0, 80))"
        )
        assert small == []
        await page.say('use notes_append_line {"line": "on the phone"}')
        await page.see("dialog.approval[open]")
        await picture(page, "phone-approval")
        assert await page.evaluate("document.querySelector('.approval').getBoundingClientRect().right <= innerWidth")
        await page.accessible()
        await page.click(".approval .danger")
        await page.answered()


async def test_in_the_dark(house: House, picture: Picture) -> None:
    async with house.visit("admin", dark=True) as page:
        light = (
            "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
            ".reduce((sum, part) => sum + part, 0) > 400"
        )
        assert await page.evaluate(light) is False
        await page.say("what time is it?")
        await page.answered()
        await page.accessible()
        for name in PAGES:
            await page.evaluate(f"location.hash = '#/{name}'")
            await page.until(LOADED)
            if name in ("usage", "admin"):
                await page.accessible()
            await picture(page, f"{name}-dark")
        await page.evaluate("location.hash = '#/settings'")
        await page.do("choose", selector="select[aria-label=Colours]", value="light")
        assert await page.evaluate(light) is True
        await page.do("reload")
        await page.see(".page")
        assert await page.evaluate(light) is True


async def test_chinese_by_an_input_method(house: House, picture: Picture) -> None:
    """While the method composes, Enter belongs to it."""
    async with house.visit(locale="zh-CN") as page:
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        await page.see("text=有什么可以帮你？")
        await picture(page, "first-visit-zh")
        await page.click("#message")
        await page.do("compose", text="nihao", commit=False)
        await page.evaluate("""document.querySelector('#message').dispatchEvent(
            new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))""")
        await page.evaluate("""(() => {
            const event = new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true});
            Object.defineProperty(event, 'keyCode', {value: 229});
            document.querySelector('#message').dispatchEvent(event);
        })()""")
        assert await page.evaluate("document.querySelectorAll('.turn').length") == 0
        await page.do("compose", text="你好", commit=True)
        assert await page.evaluate("document.querySelector('#message').value") == "你好"
        await page.press("Enter")
        await page.answered()
        assert await page.text(".bubble") == "你好" and "演示模型" in await page.last_answer()
        await page.say("讲一个故事")
        await page.answered()
        await page.accessible()
        await page.say("/status")  # the same in every language: the browser says which
        await page.answered()
        assert "会话" in await page.last_answer()
        # the language can be chosen
        await page.evaluate("location.hash = '#/settings'")
        await page.do("choose", selector="select[aria-label=语言]", value="en")
        await page.see("text=Appearance")


async def test_by_keyboard_alone(house: House) -> None:
    async with house.visit() as page:
        await page.do("type", text="hello")
        await page.press("Shift+Enter")
        await page.do("type", text="there")
        await page.press("Enter")
        await page.answered()
        assert await page.text(".bubble") == "hello\nthere"
        await page.press("Control+k")
        assert await page.evaluate("document.activeElement.id") == "search"
        await page.press("Control+Shift+o")
        await page.see(".welcome")
        for _ in range(30):
            await page.press("Tab")
            if await page.evaluate("document.activeElement.classList.contains('try')"):
                break
        await page.press("Enter")
        await page.answered()
        outline = await page.evaluate(
            "document.querySelector('#new-chat').focus(), getComputedStyle(document.activeElement).outlineStyle"
        )
        assert outline != "none"


async def test_reduced_motion(house: House) -> None:
    async with house.visit(reduced=True) as page:
        await page.say("count to 20")
        await page.see(".turn")
        seconds = await page.evaluate("getComputedStyle(document.querySelector('.turn')).animationDuration")
        assert float(re.sub("[^0-9.e-]", "", seconds)) <= 0.001
        await page.answered()


async def test_an_administrator(house: House, picture: Picture) -> None:
    """Users, invitations, tokens: made, shown once, revoked."""
    async with house.visit("admin") as page, aiohttp.ClientSession() as http:
        await page.evaluate("location.hash = '#/admin'")
        await page.fill("#user-name", "grandma")
        await page.press("Enter", "#user-name")
        await page.see("td:has-text('grandma')")
        await page.click("tr:has-text('grandma') >> text=Invite")
        link = await page.text("dialog .secret code")
        await page.click("dialog >> text=Close")
        async with house.browser.page() as guest:
            await guest.login(link)
            await guest.say("hello")
            await guest.answered()
            await guest.evaluate("location.hash = '#/admin'")
            await guest.see("text=This page is for administrators.")
        await page.fill("#token-user", "grandma")
        await page.press("Enter", "#token-user")
        secret = await page.text("dialog .secret code")
        await page.click("dialog >> text=Close")
        ask = {"jsonrpc": "2.0", "id": 1, "method": "connect", "params": {}}
        headers = {"Authorization": f"Bearer {secret}"}
        async with http.post(house.gateway.url + "/api/v1/rpc", json=ask, headers=headers) as reply:
            assert (await reply.json())["result"]["user"] == "grandma"
        await page.until("document.querySelectorAll('dialog').length === 1")  # the one for approvals, closed
        assert secret not in await page.evaluate("document.documentElement.outerHTML")
        await page.click("tr:has-text('grandma (user)'):has-text('chat') >> text=Revoke")
        await page.click("dialog .danger")
        await page.evaluate("location.hash = '#/usage'")
        await page.see(".figure")
        await page.see(".meter")


async def test_a_viewer_only_reads(house: House) -> None:
    async with await house.admin() as admin:
        await admin.call("user.add", user="reader", role="viewer")
    async with house.visit("reader") as page:
        await page.say("may I?")
        await page.see(".turn .problem")
        assert await page.evaluate("document.querySelector('.pages').innerText.includes('Administration')") is False
