"""Accounts on a platform that come to a user and leave him again: whose conversations are whose afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.contract2.platforms import Telegram
from tests.contract2.test_channels import admin, in_state, on_telegram
from tests.e2e.gateway_process import BOB, Client, GatewayProcess, Refused, gateway_process

FIRST, SECOND = "agent:main:telegram:direct:42", "agent:main:telegram:direct:43"


async def keys_of(client: Client) -> set[str]:
    return {session["session_key"] for session in (await client.call("session.list"))["sessions"]}


async def code_of(client: Client, key: str) -> int:
    try:
        await client.call("chat.history", session_key=key)
    except Refused as refused:
        return refused.code
    return 0


async def link(fake: Telegram, client: Client, who: int) -> str:
    """Tie `who` to the client's user; the identity."""
    before = set((await client.call("identity.list"))["identities"])
    fake.says(f"/link {(await client.call('identity.link'))['code']}", who=who)
    async with asyncio.timeout(5):
        while not (new := set((await client.call("identity.list"))["identities"]) - before):
            await asyncio.sleep(0.02)
    (identity,) = new
    return identity


async def eventually(true: Any) -> None:
    async with asyncio.timeout(5):
        while not await true():
            await asyncio.sleep(0.02)


async def asks(fake: Telegram, who: int, sum_: str, answer: str) -> None:
    fake.says(f"what is {sum_}?", who=who)
    await fake.until(lambda: any(answer in text for text in fake.texts(who)))


def house(fake: Telegram, folder: Path) -> Any:
    return gateway_process(folder / "home", on_telegram(fake, allow_from=[42, 43]))


@pytest.mark.attack(58)
async def test_an_account_that_goes_to_another_user_takes_only_its_own_conversation(tmp_path: Path) -> None:
    async with Telegram() as fake, house(fake, tmp_path) as gateway:
        await in_state(gateway, "telegram", "ready")
        await asks(fake, 42, "20 + 2", "22")
        await asks(fake, 43, "20 + 3", "23")
        async with Client(gateway.ws) as alice, Client(gateway.ws, BOB) as bob:
            await link(fake, alice, 42)
            await link(fake, alice, 43)
            await eventually(lambda: both(alice))
            await link(fake, bob, 43)
            await eventually(lambda: has(bob, SECOND))
            await asks(fake, 42, "20 + 5", "25")
            assert await keys_of(bob) == {SECOND}
            assert FIRST in await keys_of(alice) and SECOND not in await keys_of(alice)
            assert (await code_of(bob, FIRST), await code_of(alice, SECOND)) == (1003, 1003)


async def both(client: Client) -> bool:
    return {FIRST, SECOND} <= await keys_of(client)


async def has(client: Client, key: str) -> bool:
    return key in await keys_of(client)


@pytest.mark.attack(58)
async def test_who_is_untied_is_not_read_any_more(tmp_path: Path) -> None:
    async with Telegram() as fake, house(fake, tmp_path) as gateway:
        await in_state(gateway, "telegram", "ready")
        async with Client(gateway.ws) as alice:
            identity = await link(fake, alice, 42)
            await asks(fake, 42, "20 + 2", "22")
            await alice.call("session.subscribe", session_key="telegram:42")
            assert await alice.call("identity.unlink", identity=identity) == {"unlinked": True}

            async def gone() -> bool:
                return FIRST not in await keys_of(alice)

            await eventually(gone)
            seen = len(alice.events)
            await asks(fake, 42, "20 + 4", "24")
            assert await code_of(alice, FIRST) == 1003
            later = [e["type"] for e in alice.events[seen:] if e.get("session_key") == FIRST]
            assert set(later) <= {"session.updated"}  # that it is no longer hers


async def test_who_belonged_to_a_removed_user_is_answered_as_himself(tmp_path: Path) -> None:
    async with Telegram() as fake, house(fake, tmp_path) as gateway:
        await in_state(gateway, "telegram", "ready")
        async with admin(gateway) as boss:
            token = (await boss.call("token.create", user="carol", role="user"))["token"]
            async with Client(gateway.ws, token) as carol:
                await link(fake, carol, 42)
                await asks(fake, 42, "20 + 2", "22")
            await boss.call("user.remove", user="carol")
            await asks(fake, 42, "20 + 4", "24")
            await unread_by_a_namesake(gateway, boss)


async def unread_by_a_namesake(gateway: GatewayProcess, boss: Client) -> None:
    """Nobody who is called carol again may read what was said after carol was removed."""
    token = (await boss.call("token.create", user="carol", role="user"))["token"]
    async with Client(gateway.ws, token) as again:
        assert await keys_of(again) == set()
        assert await code_of(again, FIRST) == 1003
