"""Many bridges at once: half-open ones are let go, and all come back after a restart while somebody works."""

import asyncio
import os
from typing import Any

import pytest

from bridge.tunnel import backoff
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.raw_bridge import RawBridge
from tests.fakes.tunnel_rig import Caller, GatewayRig, tool_call, until


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.attack(77)
async def test_half_open_links_are_noticed_and_freed(gateway: GatewayRig, monkeypatch: Any) -> None:
    """Forty cables pulled out at once: no FIN, no frame. With the machine's 40 s as 0.6."""
    monkeypatch.setattr("bridge.protocol.gateway_side.DEAD_SECONDS", 0.6)
    proxy = FaultProxy(gateway.port)
    await proxy.start()
    token = gateway.token()
    before = descriptors()
    bridges = [RawBridge(f"ws://127.0.0.1:{proxy.port}/tunnel") for _ in range(40)]
    for number, bridge in enumerate(bridges):
        await bridge.__aenter__()
        await bridge.auth(token, bridge_id=f"b{number}")
    assert sum(bridge.connected for bridge in gateway.directory.bridges_of("alice")) == 40
    proxy.stall()
    begun = asyncio.get_running_loop().time()
    await until(lambda: not any(bridge.connected for bridge in gateway.directory.bridges_of("alice")))
    assert asyncio.get_running_loop().time() - begun < 4
    await proxy.stop()
    for bridge in bridges:
        bridge.socket.transport.abort()
    await until(lambda: descriptors() <= before + 2)


@pytest.mark.attack(12)
async def test_a_revoked_token_is_noticed_within_a_second_among_many(gateway: GatewayRig) -> None:
    """They are looked after some at a time."""
    bridges = [RawBridge(gateway.url) for _ in range(120)]
    tokens = [gateway.token(f"user{number}") for number in range(4)]
    for number, bridge in enumerate(bridges):
        await bridge.__aenter__()
        await bridge.auth(tokens[number % 4], bridge_id=f"b{number}")
    for user in (3, 0):
        gateway.tokens.revoke(tokens[user].partition(".")[0])
        begun = asyncio.get_running_loop().time()
        codes = await asyncio.gather(*(bridge.closed() for bridge in bridges[user::4]))
        assert set(codes) == {4501} and asyncio.get_running_loop().time() - begun < 1.0
    assert sum(row.connected for user in (1, 2) for row in gateway.directory.bridges_of(f"user{user}")) == 60
    for bridge in bridges:
        bridge.socket.transport.abort()


@pytest.mark.attack(78)
@pytest.mark.parametrize("count", [60, pytest.param(800, marks=pytest.mark.slow)])
async def test_all_bridges_come_back_after_a_restart(gateway: GatewayRig, count: int) -> None:
    """They reconnect as the client does; a canary's calls go on meanwhile, and nothing is doubled."""
    tokens = [gateway.token(f"user{number}") for number in range(20)]
    sessions: dict[int, list[int]] = {number: [] for number in range(count)}
    back = 0

    async def bridge(number: int) -> None:
        nonlocal back
        for life in range(2):
            for attempt in range(20):
                try:
                    async with RawBridge(gateway.url) as raw:
                        answer = await raw.auth(tokens[number % 20], bridge_id=f"b{number}")
                        sessions[number].append(answer["epoch"])
                        back += life
                        await raw.closed(60)
                        break
                except OSError:
                    await asyncio.sleep(backoff(attempt, 0.5))
                except Exception:  # a gateway that was just stopping
                    await asyncio.sleep(backoff(attempt, 0.5))
            else:
                raise AssertionError("it never came back")

    tasks = [asyncio.create_task(bridge(number)) for number in range(count)]
    await until(lambda: all(sessions.values()), 60)
    await gateway.restart()
    slowest = 0.0
    async with RawBridge(gateway.url) as canary:
        await canary.auth(gateway.token(), bridge_id="canary")
        await canary.tools("fs_read")
        await gateway.has_tools()
        while back < count:
            begun = asyncio.get_running_loop().time()
            call = asyncio.create_task(Caller(gateway).call(tool_call("fs_read", {})))
            await canary.answer(await canary.frame("MCP_REQUEST"))
            await call
            slowest = max(slowest, asyncio.get_running_loop().time() - begun)
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() < begun + 60
    known = sum(len(gateway.directory.bridges_of(f"user{number}")) for number in range(20))
    assert known == count
    assert all(len(epochs) == 2 and epochs[1] > epochs[0] for epochs in sessions.values())
    assert slowest < (1.0 if count < 100 else 3.0)  # both ends share this process
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
