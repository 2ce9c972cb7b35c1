"""A bridge written from the contract that answers what no tool may answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.contract2.peers import RawBridge, raw_bridge, tool
from tests.e2e.gateway_process import ALICE, Client, GatewayProcess, Refused, gateway_process

Bridged: TypeAlias = tuple[GatewayProcess, Client, RawBridge]


@pytest.fixture
async def bridged(tmp_path: Path) -> AsyncIterator[Bridged]:
    """A gateway, a client of Alice's, and her bridge, whose one tool the client has seen."""
    async with (
        gateway_process(tmp_path / "home") as gateway,
        Client(gateway.ws) as alice,
        raw_bridge(gateway.url.replace("http", "ws", 1) + "/v1/tunnel", ALICE) as bridge,
    ):
        await bridge.offer(tool("raw_go"))
        await alice.until(lambda: [e for e in alice.events if e["type"] == "tools.changed" and e["tools"] == 1])
        yield gateway, alice, bridge


async def test_a_result_that_is_none_is_2005_whatever_bridge_sends_it(bridged: Bridged) -> None:
    _, alice, bridge = bridged

    async def answered(n: int, result: dict[str, Any]) -> Any:
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_go", arguments={"n": n}))
        request = await bridge.nth("MCP_REQUEST", n)
        payload = {"jsonrpc": "2.0", "id": request["payload"]["id"], "result": result}
        await bridge.send("MCP_RESPONSE", request["id"], payload)
        return await calling

    for n, content in enumerate(("text", {"type": "text"}, ["text"], [{"text": "no type"}]), start=1):
        with pytest.raises(Refused) as refused:
            await answered(n, {"content": content})
        assert refused.value.code == 2005 and refused.value.data["retryable"] is False
    assert (await answered(5, {"content": []}))["content"] == []


async def test_a_call_whose_caller_left_is_not_done_again_and_its_outcome_is_unknown(bridged: Bridged) -> None:
    gateway, alice, bridge = bridged
    async with Client(gateway.ws) as other:
        left = asyncio.ensure_future(other.call("tools.call", name="raw_go", arguments={}, idempotency_key="k"))
        first = await bridge.nth("MCP_REQUEST", 1)
    with pytest.raises(ConnectionError):
        await left
    assert (await bridge.nth("CANCEL", 1))["id"] == first["id"]
    cancelled = {"code": 1009, "message": "Cancelled", "scope": "call", "retryable": False, "effect": "unknown"}
    await bridge.send("ERROR", first["id"], cancelled)
    again = asyncio.ensure_future(alice.call("tools.call", name="raw_go", arguments={}, idempotency_key="k"))
    second = await bridge.nth("MCP_REQUEST", 2)
    assert second["ctl"]["idempotency_key"] == first["ctl"]["idempotency_key"]
    await bridge.send("ERROR", second["id"], cancelled)
    with pytest.raises(Refused) as refused:
        await again
    assert refused.value.code == 2006 and refused.value.data["retryable"] is False
