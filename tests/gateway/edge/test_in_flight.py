"""A socket with all its requests under way: what comes then is answered too, malformed or not, alone or in a batch."""

from pathlib import Path

import pytest

from gateway import connection
from tests.gateway.edge.harness import Wire, running

LIMITS = {"messages_per_minute": 0, "turns_per_user": 1}


async def _busy(client: Wire) -> None:
    """Fill it."""
    for number in range(4):
        await client.send({"jsonrpc": "2.0", "id": f"w{number}", "method": "chat.send", "params": {"text": "count"}})


@pytest.mark.attack(17)
async def test_beyond_the_limit_everything_that_wants_an_answer_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IN_FLIGHT", 4)
    async with running(tmp_path, pace=1.0, limits=LIMITS) as gateway, gateway.client("alice") as client:
        await _busy(client)
        await client.send({"jsonrpc": "2.0", "id": 1, "method": "health"})
        assert (await client.frame())["error"]["code"] == 1007
        await client.send({"jsonrpc": "2.0", "id": 1, "method": 7})
        answer = await client.frame()
        assert (answer["id"], answer["error"]["code"]) == (1, -32600)
        await client.send({"jsonrpc": "2.0", "id": "w0", "method": "health"})
        answer = await client.frame()
        assert (answer["id"], answer["error"]["code"]) == ("w0", -32600)
        await client.send("{nonsense")
        answer = await client.frame()
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
        await client.send([])
        assert (await client.frame())["error"]["code"] == -32600
        batch = [{"jsonrpc": "2.0", "id": 2, "method": "health"}, 5, {"jsonrpc": "2.0", "method": "health"}]
        await client.send(batch)
        assert [(one["id"], one["error"]["code"]) for one in await client.frame()] == [(2, 1007), (None, -32600)]
        await client.send({"jsonrpc": "2.0", "method": "health"})  # a notification: nothing is said
        await client.send({"jsonrpc": "2.0", "id": 2, "method": "health"})
        assert (await client.frame())["id"] == 2


async def test_garbage_without_end_closes_beyond_the_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IN_FLIGHT", 4)
    async with running(tmp_path, pace=1.0, limits=LIMITS) as gateway, gateway.client("alice") as client:
        await _busy(client)
        for _ in range(10):
            await client.send("{")
        assert await client.close_code() == 4029
        assert len([one for one in client.frames if one["error"]["code"] == -32700]) == 10
