"""A person's own call under an idempotency key is made once, whatever becomes of the gateway meanwhile."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.gateway_process import Client, GatewayProcess, Refused
from tests.e2e.test_supervisor import effects, house


async def again(gateway: GatewayProcess, how: str) -> None:
    await (gateway.kill() if how == "kill" else gateway.stop())
    await gateway.start()


@pytest.mark.attack(79)
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_the_first_answer_outlives_a_restart(tmp_path: Path, how: str) -> None:
    async with house(tmp_path, ask=False) as (gateway, _):
        call = {"name": "effects_append_line", "arguments": {"line": "once"}, "idempotency_key": "k1"}
        async with Client(gateway.ws) as client:
            first = await client.call("tools.call", **call)
            assert await client.call("tools.call", **call) == first
        await again(gateway, how)
        async with Client(gateway.ws) as client:
            assert await client.call("tools.call", **call) == first
            with pytest.raises(Refused) as other:
                await client.call("tools.call", **(call | {"arguments": {"line": "another"}}))
            assert other.value.code == 1008
            assert effects(tmp_path) == ["once"]
        async with Client(gateway.ws, "bob-token-0123456789abcdef0123456789ab") as bob:  # his key is another
            await bob.call("tools.call", **call)
        assert effects(tmp_path) == ["once", "once"]


async def test_what_was_under_way_is_unknown_and_not_made_again(tmp_path: Path) -> None:
    async with house(tmp_path, ask=False) as (gateway, _):
        call = {"name": "effects_append_slowly", "arguments": {"line": "slow", "seconds": 30}, "idempotency_key": "k1"}
        async with Client(gateway.ws) as client:
            task = asyncio.create_task(client.call("tools.call", **call))
            await asyncio.sleep(0.3)
            await gateway.kill()
            with pytest.raises(ConnectionError):
                await task
        await gateway.start()
        async with Client(gateway.ws) as client:
            for _ in range(2):
                with pytest.raises(Refused) as unknown:
                    await client.call("tools.call", **call)
                assert unknown.value.code == 2006


async def test_what_a_person_was_still_asked_about_may_be_called_again(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        call = {"name": "effects_append_line", "arguments": {"line": "asked"}, "idempotency_key": "k1"}
        async with Client(gateway.ws) as client:
            asyncio.ensure_future(client.call("tools.call", **call)).add_done_callback(lambda done: done.exception())
            await client.until(lambda: [e for e in client.events if e["type"] == "approval.requested"])
        async with Client(gateway.ws) as client:
            task = asyncio.create_task(client.call("tools.call", **call))
            asked = (await client.until(lambda: [e for e in client.events if e["type"] == "approval.requested"]))[0]
            await client.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
            assert not (await task)["is_error"]
        assert effects(tmp_path) == ["asked"]
