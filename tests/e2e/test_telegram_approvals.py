"""A tool that asks, begun in Telegram: answered by a button, or by the same person in another client."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.channels.rig import until
from tests.e2e.gateway_process import Client, GatewayProcess, gateway_process
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.telegram_server import FakeTelegram

EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")
REAL = str(Path(__file__).parent.parent / "bridge" / "real_server.py")
ASK = '!tool effects_append_line {"line": "done"}'


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake


@pytest.fixture
async def gateway(telegram: FakeTelegram, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    async with OpenAIServer() as model:
        configuration: dict[str, Any] = {
            "models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "m"}],
            "agent": {"mode": "single"},
            "mcp_servers": [{
                "name": "effects", "command": sys.executable, "args": [EFFECTS, str(tmp_path / "effects.txt")],
                "tools": {"ask": ["*"]},
            }, {"name": "real", "command": sys.executable, "args": [REAL, "stdio"]}],
            "channels": {"telegram": {
                "enabled": True, "token": telegram.token, "base_url": telegram.url, "allow_from": ["42", "7"],
                "groups": {"-100": {"allow_from": ["*"]}},
            }},
        }  # fmt: skip
        async with gateway_process(tmp_path / "home", configuration) as running, Client(running.ws) as client:
            async with asyncio.timeout(20):
                while not {"effects_append_line", "real_paint"} <= await names(client):
                    await asyncio.sleep(0.05)
            yield running


async def names(client: Client) -> set[str]:
    return {tool["name"] for tool in (await client.call("tools.list"))["tools"]}


def effects(gateway: GatewayProcess) -> list[str]:
    file = gateway.home.parent / "effects.txt"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.attack(46)
async def test_a_button_lets_the_tool_run_once_for_who_asked(telegram: FakeTelegram, gateway: GatewayProcess) -> None:
    telegram.world.person_says(-100, f"@b_bot {ASK}", user=42)
    await until(lambda: telegram.world.has_buttons(-100))
    telegram.world.tap(-100, "Allow once", user=7)
    await until(lambda: telegram.world.answered_taps)
    assert effects(gateway) == []
    telegram.world.tap(-100, "Allow once", user=42)
    await until(lambda: effects(gateway) == ["done"])
    await until(lambda: not telegram.world.has_buttons(-100))
    texts = await until(lambda: [t for t in telegram.world.visible(-100) if "✅ Allowed once" in t])
    assert "effects_append_line" in texts[0]
    await until(lambda: any("appended done" in text for text in telegram.world.visible(-100)))
    assert effects(gateway) == ["done"]


async def test_a_turn_begun_in_telegram_is_watched_and_approved_by_the_same_person_elsewhere(
    telegram: FakeTelegram, gateway: GatewayProcess
) -> None:
    async with Client(gateway.ws) as alice:
        code = (await alice.call("identity.link"))["code"]
        telegram.world.person_says(42, f"/link {code}")
        await until(lambda: telegram.world.visible(42))
        telegram.world.person_says(42, "hello")
        await until(lambda: len(telegram.world.visible(42)) == 2)
        await alice.call("session.subscribe", session_key="agent:main:telegram:direct:42")
        telegram.world.person_says(42, ASK)
        asked = await alice.until(lambda: [e for e in alice.events if e["type"] == "approval.requested"])
        await until(lambda: telegram.world.has_buttons(42))
        resolved = await alice.call("approval.resolve", approval_id=asked[0]["approval_id"], decision="allow_once")
        assert resolved == {"resolved": True}
        await until(lambda: not telegram.world.has_buttons(42))
        await alice.until(lambda: [e for e in alice.events if e["type"] == "chat.done" and "appended" in e["text"]])
        await until(lambda: any("appended done" in text for text in telegram.world.visible(42)))
        assert effects(gateway) == ["done"]


async def test_what_a_tool_server_asks_is_answered_by_a_text_of_who_was_asked(
    telegram: FakeTelegram, gateway: GatewayProcess
) -> None:
    telegram.world.person_says(-100, "@b_bot !tool real_paint {}", user=42)
    await until(lambda: any("Which colour?" in text for text in telegram.world.visible(-100)))
    telegram.world.person_says(-100, "@b_bot blue", user=7)
    telegram.world.person_says(-100, "@b_bot red", user=42)
    await until(lambda: any("accept red" in text for text in telegram.world.visible(-100)), 20)
    assert any("Which colour?" in text and "✅ red" in text for text in telegram.world.visible(-100))
    assert not telegram.world.has_buttons(-100)
