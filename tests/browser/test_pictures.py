"""A conversation as the README shows it: Markdown, code, a table, a tool on the laptop; looked at and photographed."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bridge.test_app import BridgeProcess
from tests.browser.conftest import EFFECTS, PICTURE_SERVER, PICTURES, House, Picture
from tests.browser.driving import Browser
from tests.e2e.gateway_process import ALICE, gateway_process
from tests.fakes.openai_server import OpenAIServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "Which of my notes are about Lisbon? Sum them up and put the costs into a table."
ANSWER = """Three of your notes are about **Lisbon**: two flights to choose from, and a flat to be booked by Friday.

| What | When | Cost |
|---|---|---:|
| Flight, direct | 4 May | 218 € |
| Flight, one stop | 5 May | 164 € |
| Flat in Alfama | 4–9 May | 610 € |

To have it as a file:

```python
from pathlib import Path

costs = {"flight": 164, "flat": 610}
Path("lisbon.txt").write_text(f"total: {sum(costs.values())} €")  # 774 €
```

- [x] compared the flights
- [ ] book the flat"""
FOLLOW_UP = "总结成一句话，用中文。"
SHORT = "最便宜的方案是 5 月 5 日转机的航班加 Alfama 的公寓，共 **774 欧元**，公寓需在周五前预订。"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A gateway whose model answers as above, and alice's laptop with three tool servers."""
    folder = tmp_path_factory.mktemp("pictures")
    script = [{"match": "Lisbon", "do": f"say {ANSWER}"}, {"match": "中文", "do": f"say {SHORT}"}]
    async with OpenAIServer(script=script) as model:
        model.queue.append('tool notes_search {"query": "Lisbon"}')
        models = [{"name": "main", "base_url": model.url, "api_key": "k", "model": "scripted", "tier": 1}]
        async with gateway_process(folder / "home", {"models": models, "agent": {"mode": "single"}}) as gateway:
            laptop = BridgeProcess(folder / "laptop", gateway.url.replace("http", "ws", 1) + "/tunnel", ALICE)
            command = {"command": sys.executable, "args": [EFFECTS, str(folder / "traces")]}
            notes = {"command": sys.executable, "args": [PICTURE_SERVER]}
            laptop.write({"notes": notes, "files": command, "calendar": command})
            laptop.start()
            try:
                yield House(gateway, browser, folder / "traces")
            finally:
                await laptop.stop()


async def test_a_conversation_worth_a_picture(house: House, picture: Picture, tmp_path: Path) -> None:
    async with house.visit("alice", height=920) as page:
        told = (
            "document.querySelector('#badge').innerText.startsWith('Local bridge connected: laptop, 3 servers, 7 tools"
        )
        await page.until(told + "')", seconds=30)
        if PICTURES:  # the first heartbeat measures the way
            await page.until(told + ", ')", seconds=40)
        await page.say(QUESTION)
        await page.answered()
        await page.see("th:has-text('Cost')")
        await page.see(".code-frame .hljs-keyword")
        assert await page.evaluate("document.querySelectorAll('.task-box').length") == 2
        assert await page.text(".tool-name") == "notes_search"
        await page.accessible()
        await picture(page, "chat")
        await page.say(FOLLOW_UP)
        await page.answered()
        assert "774" in await page.last_answer()
    async with house.visit("alice", dark=True) as page:
        await page.see("th:has-text('Cost')")
        await page.accessible()
        await picture(page, "chat-dark")
    async with house.visit("alice", width=360, height=740, touch=True) as page:
        await page.see("th:has-text('Cost')")
        await picture(page, "phone")
