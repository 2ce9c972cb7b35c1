"""Getting in, and the first answer: what everybody sees first."""

import json

import pytest

from tests.browser.conftest import House, Picture
from tests.browser.driving import Page
from tests.e2e.gateway_process import BOB, Client
from tests.fakes.cutting_proxy import Stranger

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_first_visit(house: House, picture: Picture) -> None:
    """From the link to a streamed answer, with nothing left behind that a script could steal."""
    async with house.browser.page() as page:
        link = await house.invitation("newcomer")
        await page.login(link)
        assert await page.evaluate("location.href") == house.gateway.url + "/"
        assert await page.evaluate("history.length") <= 2
        assert await page.evaluate("document.activeElement.id") == "message"
        await page.see(".welcome")
        await page.accessible()
        await picture(page, "first-visit")
        await page.say(
            "say " + "\n\n".join(f"Paragraph {n} says **something** short, of some words." for n in range(1, 20))
        )
        await page.see(".prose")
        await page.until("document.querySelector('.prose').innerText.length > 40")
        assert await page.evaluate("document.querySelector('.turns').getAttribute('aria-busy')") == "true"
        await page.see("#stop")
        await page.until("document.querySelector('.prose').children.length > 2")
        await page.evaluate("window.first = document.querySelector('.prose').firstElementChild; undefined")
        await page.until("document.querySelector('.prose').children.length > 5")
        # what is settled is not drawn again
        assert await page.evaluate("window.first === document.querySelector('.prose').firstElementChild")
        await page.answered()
        assert await page.evaluate("window.first === document.querySelector('.prose').firstElementChild")
        kept = json.dumps(await page.evaluate("[document.cookie, {...localStorage}, {...sessionStorage}]"))
        assert link.split("=")[1] not in kept and "gw_" not in kept and kept == '["", {}, {}]'
        assert await page.evaluate("fetch('/api/v1/login', {method: 'POST', body: '{}'}).then((r) => r.status)") == 400
        await page.do("forget")
        # the cookie is enough from now on; the history gives the same text again
        text = await page.last_answer()
        await page.do("reload")
        await page.see(".prose")
        await page.until("document.querySelectorAll('.prose p').length > 6")
        assert await page.last_answer() == text
        await page.quiet(house.gateway.url)
        async with house.browser.page() as second:
            await second.do("goto", url=link)
            await second.see(".login .problem")
            assert "used up" in await second.text(".login .problem")


async def test_without_a_login_and_in_again(house: House, picture: Picture) -> None:
    async with house.browser.page(locale="zh-CN") as page:
        await page.do("goto", url=house.gateway.url)
        await page.see(".login")
        assert await page.text("h1") == "登录"
        await page.accessible()
        mark = await page.evaluate(
            "(({ width, height }) => [width, height])(document.querySelector('.mark').getBoundingClientRect())"
        )
        assert mark[0] == mark[1], "the mark keeps its shape"
        await picture(page, "login-zh")
        await page.fill("#login-code", "<b>not a code</b>")
        await page.press("Enter", "#login-code")
        await page.see(".login .problem")
        await page.fill("#login-code", await house.invitation("alice"))
        await page.press("Enter", "#login-code")
        await page.see("#message")
        await page.do("evaluate", code="location.hash = '#/settings'")
        await page.click("text=退出登录")
        await page.see(".login")
        await page.quiet(house.gateway.url)


async def test_who_is_put_out_is_told(house: House) -> None:
    async with house.browser.page() as page:
        await page.login(await house.invitation("leaver"))
        await page.say("count to 200")
        async with await house.admin() as client:
            await client.call("user.remove", user="leaver")
        await page.see(".login .problem")
        assert await page.text(".login .problem") == "You are no longer logged in."
        await page.accessible()
        await page.do("reload")
        await page.see(".login")
        await page.see(".login .problem", gone=True)


@pytest.mark.attack(2)
async def test_no_word_in_the_url_leads_to_another_server(house: House) -> None:
    async with Stranger() as stranger, house.visit() as page:
        evil = f"127.0.0.1:{stranger.port}"
        for tail in (
            f"?gatewayUrl=ws://{evil}/ws", f"?server={evil}&base=//{evil}/#gatewayUrl=ws://{evil}",
            f"#/c/ws%3A%2F%2F{evil}", f"#//{evil}/ws", f"#login=x&server=ws://{evil}",
        ):  # fmt: skip
            await page.do("goto", url="about:blank")
            await page.do("goto", url=f"{house.gateway.url}/{tail}")
            await page.see("#message")
            await page.until("document.documentElement.dataset.connection === 'connected'")
        assert (stranger.connections, stranger.bytes) == (0, 0)
        assert await page.evaluate("location.search") == ""


@pytest.mark.attack(87)
async def test_another_origin_gets_nothing(house: House) -> None:
    """A page of another origin with the person's cookie: no socket, no state changed."""
    async with house.visit() as page:
        port = house.gateway.url.rsplit(":", 1)[1]
        foreign = f"http://localhost:{port}"
        tried = """(async () => {
          const opened = await new Promise((done) => {
            const s = new WebSocket('ws://127.0.0.1:PORT/ws');
            s.onopen = () => done(true);
            s.onerror = () => done(false);
          }).catch(() => false);
          const form = {method: 'POST', mode: 'no-cors', credentials: 'include'};
          const posted = await fetch('http://127.0.0.1:PORT/api/v1/logout', form)
            .then(() => 'sent', () => 'refused');
          return [opened, posted];
        })()""".replace("PORT", port)
        async with house.browser.page() as other:
            await other.do("goto", url=foreign + "/")
            opened, posted = await other.evaluate(tried)
            assert opened is False and posted == "refused"
        await page.say("still here")
        await page.answered()


async def test_conversations_of_others_are_not_there(house: House) -> None:
    async with Client(house.gateway.ws, BOB) as bob:
        await bob.ask("bob's own secret", session_key="bobs")
    async with house.visit() as page:
        await page.fill("#search", "secret")
        await page.see(".found-box .none")
        assert "bob" not in (await page.text("#side")).lower()
        await page.do("evaluate", code="location.hash = '#/c/bobs'")
        await page.see(".welcome")


async def watch_announcements(page: Page) -> None:
    await page.evaluate("""(() => {
      window.told = [];
      const region = document.querySelector('#announcer');
      new MutationObserver(() => { if (region.textContent) window.told.push(region.textContent); })
        .observe(region, {childList: true, characterData: true, subtree: true});
    })()""")


async def test_a_screen_reader_is_told_once(house: House) -> None:
    async with house.visit() as page:
        await watch_announcements(page)
        await page.say("count to 60")
        await page.answered()
        await page.until("window.told.some((text) => text.includes('58 59 60'))")
        told = await page.evaluate("window.told")
        assert sum("59" in text for text in told) == 1 and len(told) <= 3
        assert await page.evaluate("document.querySelector('.turns').getAttribute('aria-live')") == "off"
        assert await page.evaluate("document.querySelector('.turns').getAttribute('role')") == "log"
