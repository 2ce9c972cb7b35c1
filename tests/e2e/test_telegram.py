"""A person in Telegram, the whole gateway in its own process, and the administrator beside it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.channels.rig import until
from tests.e2e.gateway_process import GatewayProcess, gateway_process
from tests.fakes.telegram_server import FakeTelegram


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake


def channel(fake: FakeTelegram, **more: Any) -> dict[str, Any]:
    return {"channels": {"telegram": {"enabled": True, "token": fake.token, "base_url": fake.url, **more}}}


async def status(gateway: GatewayProcess) -> dict[str, Any]:
    token = next(gateway.home.glob("*token*")).read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/status", headers=bearer) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def test_from_pairing_to_an_answer_after_a_kill(telegram: FakeTelegram, tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home", channel(telegram)) as gateway:
        telegram.world.person_says(42, "hello?")
        hint = (await until(lambda: telegram.world.visible(42)))[0]
        code = next(word for word in hint.replace("(", " ").split() if len(word) == 9 and word[4] == "-")
        exit_code, out, error = await gateway.command("pair", "approve", code)
        assert exit_code == 0, out + error
        telegram.world.person_says(42, "/help")
        answer = (await until(lambda: telegram.world.visible(42)[1:]))[0]
        assert "/new" in answer
        await gateway.kill()
        telegram.world.person_says(42, "what is 2 + 2?")
        await gateway.start()
        await until(lambda: len(telegram.world.visible(42)) == 3, 20)
        assert telegram.world.pending() == [] or await until(lambda: telegram.world.pending() == [])
        found = (await status(gateway))["channels"]["telegram"]
        assert (found["state"], found["queued"]) == ("ready", 0)
        assert await gateway.stop() == 0
        assert len(telegram.world.visible(42)) == 3


async def test_what_was_refused_is_listed_and_sent_again_by_command(telegram: FakeTelegram, tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home", channel(telegram, allow_from=["42"])) as gateway:
        telegram.refuse("sendMessage", 403, "Forbidden: bot was blocked by the user")
        telegram.world.person_says(42, "/help")
        listed: list[dict[str, Any]] = []
        for _ in range(50):
            code, out, error = await gateway.command("delivery", "list", "--json")
            assert code == 0, error
            listed = json.loads(out)["deliveries"]
            if listed:
                break
        assert (listed[0]["state"], listed[0]["chat_id"], listed[0]["channel"]) == ("refused", "42", "telegram")
        assert telegram.world.visible(42) == []
        await gateway.stop()
        code, out, error = await gateway.command("delivery", "resend", listed[0]["delivery_id"])
        assert code == 0, out + error
        await gateway.start()
        await until(lambda: len(telegram.world.visible(42)) == 1)


async def test_the_webhook_route(telegram: FakeTelegram, tmp_path: Path) -> None:
    hooked = channel(telegram, allow_from=["42"], mode="webhook", webhook_secret="s3cret", webhook_url="http://x/y")
    async with gateway_process(tmp_path / "home", hooked) as gateway, aiohttp.ClientSession() as session:
        await until(lambda: telegram.world.webhook.get("secret") == "s3cret")
        telegram.world.person_says(42, "/help")
        body = telegram.world.history[max(telegram.world.history)]
        url = f"{gateway.url}/webhooks/telegram"
        secret = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}
        async with session.post(url, json=body) as answer:
            assert answer.status == 401
        async with session.post(f"{gateway.url}/webhooks/feishu", json=body, headers=secret) as answer:
            assert answer.status == 404
        for _ in range(3):
            async with session.post(url, json=body, headers=secret) as answer:
                assert answer.status == 200
        await until(lambda: telegram.world.visible(42))
        await asyncio.sleep(0.3)
        assert len(telegram.world.visible(42)) == 1


async def test_a_group_is_told_nothing_that_is_the_speakers_alone(telegram: FakeTelegram, tmp_path: Path) -> None:
    token = {"user": "telegram-42", "role": "admin", "token": "a-token-of-the-admins-own"}
    settings = channel(telegram, allow_from=["42"], groups={"-100": {}}) | {"auth": {"tokens": [token]}}
    async with gateway_process(tmp_path / "home", settings):

        async def answer(chat: int, text: str, language: str = "en") -> str:
            before = len(telegram.world.visible(chat))
            telegram.world.person_says(chat, text, user=42, sender={"language_code": language})
            return (await until(lambda: telegram.world.visible(chat)[before:]))[0]

        await answer(42, 'use memory {"action": "remember", "text": "likes green tea"}')
        for command in ("/memory", "/usage", "/sessions", "/approvals", "/bridge", "/pair list", "/delivery"):
            name, _, rest = command.partition(" ")
            said = await answer(-100, f"{name}@b_bot {rest}".strip())
            assert said == "I tell you that in a private chat only.", command
            assert await answer(42, command) != said
        assert "green tea" in await answer(42, "/memory")
        assert await answer(-100, "/memory@b_bot", "zh-hans") == "这些只在私聊中告诉你。"
        assert await answer(-100, "/memory@b_bot forget tea") == "Forgotten: 1."
        assert "on|off" not in await answer(-100, "/bridge@b_bot on")
        assert "clock" in await answer(-100, "/tools@b_bot")


async def test_the_first_word_that_telegram_sends_by_itself_is_answered_with_what_one_can_say(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    async with gateway_process(tmp_path / "home", channel(telegram, allow_from=["42", "43"])):
        telegram.world.person_says(42, "/start", sender={"language_code": "en"})
        told = (await until(lambda: telegram.world.visible(42)))[0]
        assert told.startswith("Hello!") and "/stop – stop the answer in progress" in told and "/start" not in told
        telegram.world.person_says(43, "/start abc", sender={"language_code": "zh-hans"})
        told = (await until(lambda: telegram.world.visible(43)))[0]
        assert told.startswith("你好") and "/stop – 停止正在进行的回答" in told
