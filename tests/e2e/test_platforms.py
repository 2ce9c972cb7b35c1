"""Discord and Feishu through the whole gateway, as a process, against servers that behave as they do."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.channels.notebook import until
from tests.e2e.gateway_process import GatewayProcess, gateway_process
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.feishu_server import FakeFeishu
from tests.fakes.feishu_socket import Webhook


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    async with FakeDiscord() as fake:
        yield fake


@pytest.fixture
async def feishu() -> AsyncIterator[FakeFeishu]:
    async with FakeFeishu() as fake:
        yield fake


def on_discord(fake: FakeDiscord, **more: Any) -> dict[str, Any]:
    section = {"enabled": True, "token": fake.token, "api_url": fake.api_url, **more}
    return {"channels": {"discord": section}}


def on_feishu(fake: FakeFeishu, **more: Any) -> dict[str, Any]:
    section = {"enabled": True, "app_id": fake.app_id, "app_secret": "feishu-secret", "domain": fake.domain, **more}
    return {"channels": {"feishu": section}}


async def status(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    token = (gateway.home / "admin.token").read_text().strip()
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"{gateway.url}/status") as answer,
    ):
        channels: dict[str, dict[str, Any]] = (await answer.json())["channels"]
        return channels[name]


async def until_state(gateway: GatewayProcess, name: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := await status(gateway, name))["state"] not in states:
            await asyncio.sleep(0.05)
        return found


async def test_a_stranger_is_paired_and_answered(tmp_path: Path, discord: FakeDiscord) -> None:
    async with gateway_process(tmp_path / "home", on_discord(discord)) as gateway:
        await until_state(gateway, "discord", "ready")
        await discord.says("42", "hello")
        await until(lambda: discord.visible("42"))
        code = re.search(r"[A-Z2-9]{4}-[A-Z2-9]{4}", discord.visible("42")[0])
        assert code is not None
        done, _, error = await gateway.command("pair", "approve", code[0])
        assert done == 0, error
        await discord.says("42", "hello again")
        await until(lambda: any("hello again" in text for text in discord.visible("42")[1:]))
        assert discord.rest.commands


async def test_what_is_said_while_the_gateway_is_dead_is_answered_once(
    tmp_path: Path, discord: FakeDiscord, feishu: FakeFeishu
) -> None:
    sections = {
        **on_discord(discord, allow_from=["42"])["channels"],
        **on_feishu(feishu, allow_from=["ou_1"])["channels"],
    }
    async with gateway_process(tmp_path / "home", {"channels": sections}) as gateway:
        for name in sections:
            await until_state(gateway, name, "ready")
        await discord.says("42", "one")
        await feishu.says("ou_1", "one")
        await until(lambda: len(discord.visible("42")) == len(feishu.visible("ou_1")) == 1)
        await asyncio.sleep(0.2)
        await gateway.kill()
        await discord.says("42", "two")
        await feishu.says("ou_1", "two")
        await gateway.start()
        await until(lambda: len(discord.visible("42")) == len(feishu.visible("ou_1")) == 2, 20)
        await asyncio.sleep(1)
        for seen in (discord.visible("42"), feishu.visible("ou_1")):
            assert [word in text for word, text in zip(("one", "two"), seen, strict=True)] == [True, True]


async def test_feishu_costs_no_time_and_no_memory(tmp_path: Path, feishu: FakeFeishu) -> None:
    async with gateway_process(tmp_path / "home", on_feishu(feishu, allow_from=["ou_1"])) as gateway:
        ready = re.search(r"ready in ([\d.]+) s", "".join(gateway.output))
        assert ready is not None and float(ready[1]) < 3
        await until_state(gateway, "feishu", "ready")
        await feishu.says("ou_1", "hello")
        await until(lambda: feishu.visible("ou_1"))
        process = psutil.Process(gateway.pid)
        assert not any("lark_oapi" in file.path for file in process.memory_maps())
        assert process.memory_info().rss < 120_000_000


async def test_a_wrong_secret_fails_that_channel_alone(
    tmp_path: Path, discord: FakeDiscord, feishu: FakeFeishu
) -> None:
    right = on_discord(discord, allow_from=["42"])["channels"]
    wrong = on_feishu(feishu, app_secret="secret-canary")["channels"]
    async with gateway_process(tmp_path / "home", {"channels": {**right, **wrong}}) as gateway:
        found = await until_state(gateway, "feishu", "failed")
        assert "app_secret" in found["reason"]
        await until_state(gateway, "discord", "ready")
        await discord.says("42", "hello")
        await until(lambda: discord.visible("42"))
        assert "secret-canary" not in "".join(gateway.output)


WEBHOOK = {"mode": "webhook", "encrypt_key": "encrypt-key", "verification_token": "verification-token"}


@pytest.mark.attack(53)
@pytest.mark.attack(55)
async def test_the_webhook_over_http(tmp_path: Path, feishu: FakeFeishu) -> None:
    async with gateway_process(tmp_path / "home", on_feishu(feishu, allow_from=["ou_1"], **WEBHOOK)) as gateway:
        await until_state(gateway, "feishu", "ready")
        feishu.webhook.url = f"{gateway.url}/webhooks/feishu"
        event = feishu.message_event("ou_1", "over the hook")
        answers = await asyncio.gather(*(feishu.webhook.post(event) for _ in range(10)))
        assert [status for status, _ in answers] == [200] * 10
        await until(lambda: feishu.visible("ou_1"))
        forged = Webhook("guessed", "verification-token", feishu.webhook.url)
        assert (await forged.post(event))[0] == 401
        assert (await feishu.webhook.post(event, age=400))[0] == 401
        assert (await feishu.webhook.send(b"{}", {}))[0] == 401
        assert (await feishu.webhook.send(b"x" * 900_000, feishu.webhook.sign(event)[1]))[0] in (401, 413)
        await asyncio.sleep(0.5)
        assert len(feishu.visible("ou_1")) == 1


@pytest.mark.attack(53)
@pytest.mark.parametrize("missing", ["encrypt_key", "verification_token"])
async def test_a_webhook_without_its_keys_does_not_start(tmp_path: Path, feishu: FakeFeishu, missing: str) -> None:
    gateway = GatewayProcess(tmp_path / "home", on_feishu(feishu, **{**WEBHOOK, missing: None}))
    with pytest.raises(AssertionError):
        await gateway.start()
    assert await gateway.stop() == 2
    assert missing in "".join(gateway.output)
