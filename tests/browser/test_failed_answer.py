"""An answer that failed says why, and by which trace whoever runs the gateway finds it in the log."""

from pathlib import Path

import pytest

from tests.browser.conftest import House
from tests.browser.driving import Browser
from tests.e2e.gateway_process import gateway_process
from tests.fakes.openai_server import OpenAIServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_trace_of_an_error_is_shown_and_can_be_copied(browser: Browser, tmp_path: Path) -> None:
    async with OpenAIServer(script=[{"match": "", "do": "status 400"}]) as model:
        models = [{"name": "main", "base_url": model.url, "api_key": "k", "model": "scripted"}]
        async with gateway_process(tmp_path / "home", {"models": models}) as gateway:
            house = House(gateway, browser, tmp_path)
            async with house.visit("alice", permissions=["clipboard-read", "clipboard-write"]) as page:
                await page.say("hello")
                await page.see(".problem .trace code")
                shown = await page.text(".problem .trace code")
                assert len(shown) == 32 and set(shown) <= set("0123456789abcdef")
                await page.click(".problem .trace button")
                await page.until(f"navigator.clipboard.readText().then(text => text === '{shown}')")
                await page.accessible()
