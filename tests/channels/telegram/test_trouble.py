"""What breaks between us and Telegram, and heals."""

import logging
from pathlib import Path
from typing import Any

import pytest
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter

from channels import errors
from channels.telegram.client import NotModified, as_channel_error
from tests.channels.rig import Rig, until
from tests.channels.telegram.rigging import section
from tests.fakes.telegram_server import FakeTelegram


async def test_another_poller_degrades_only_this_channel_and_it_heals(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.refuse("getUpdates", 409, "Conflict: terminated by other getUpdates request", 2)
    for poll in list(telegram._polls):
        poll.set()
    await until(lambda: rig.state("telegram") == "degraded")
    assert "another program" in rig.manager.states()["telegram"]["reason"]
    await until(lambda: rig.state("telegram") == "ready")


async def test_a_silent_poll_is_noticed(telegram: FakeTelegram, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.telegram.polling.POLL_SECONDS", 0)
    monkeypatch.setattr("channels.telegram.polling.POLL_GRACE_SECONDS", 0.3)
    telegram.fault("getUpdates", kind="stall", seconds=1, times=3)
    telegram.world.person_says(42, "first")
    await until(lambda: "silent" in str(rig.manager.states()["telegram"].get("reason")))
    telegram.world.person_says(42, "are you there")
    await until(lambda: telegram.world.visible(42) == ["You said: first", "You said: are you there"])
    assert rig.state("telegram") == "ready"


@pytest.mark.attack(62)
async def test_a_token_that_is_revoked_while_running_fails_and_heals(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.revoke()
    for poll in list(telegram._polls):
        poll.set()
    await until(lambda: rig.state("telegram") == "failed")
    assert rig.manager.states()["telegram"]["reason"] == "Telegram refuses the bot token"
    telegram.revoke(False)
    await until(lambda: rig.state("telegram") == "ready")


@pytest.mark.attack(62)
async def test_a_tls_failure_is_said(telegram: FakeTelegram, tmp_path: Path) -> None:
    sections = section(telegram, base_url=telegram.url.replace("http:", "https:"))
    rig = await Rig(tmp_path, sections).start()
    try:
        await until(lambda: rig.state("telegram") == "degraded")
        assert "can't be reached" in rig.manager.states()["telegram"]["reason"]
    finally:
        await rig.crash()


async def test_the_token_is_in_no_log_line(
    telegram: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    telegram.token = "1:SECRETCANARY"
    telegram.refuse("sendMessage", 500, "boom")
    async with Rig(tmp_path, section(telegram)).running("telegram"):
        telegram.world.person_says(42, "hello")
        await until(lambda: telegram.world.visible(42))
    mine = [r.getMessage() + str(r.exc_info) for r in caplog.records if not r.name.startswith(("aiohttp", "asyncio"))]
    assert not [line for line in mine if "SECRETCANARY" in line]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RetryAfter(7), errors.RateLimited),
        (BadRequest("Message is not modified: specified new"), NotModified),
        (BadRequest("Message to edit not found"), errors.MessageGone),
        (BadRequest("Message can't be edited"), errors.EditExpired),
        (BadRequest("Chat not found"), errors.DeliveryRejected),
        (Forbidden("Forbidden: bot was blocked by the user"), errors.DeliveryRejected),
        (InvalidToken("Unauthorized"), errors.ChannelAuthFailed),
        (NetworkError("Bad Gateway"), errors.ChannelUnavailable),
    ],
)
def test_the_table_of_errors(error: Any, kind: type[Exception]) -> None:
    assert type(as_channel_error(error)) is kind
