"""Many requests in one breath on one socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

import websockets

from tests.e2e.gateway_process import ALICE, Client, Refused, gateway_process


def _request(number: int, method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


async def test_a_thousand_requests_in_one_breath_get_a_thousand_answers(tmp_path: Path) -> None:
    async with (
        gateway_process(tmp_path / "home") as gateway,
        websockets.connect(
            gateway.ws, additional_headers={"Authorization": f"Bearer {ALICE}"}, proxy=None, max_queue=None
        ) as socket,
    ):
        for number in range(1000):
            await socket.send(_request(number, "session.list"))
        async with asyncio.timeout(20):
            answers = [json.loads(await socket.recv()) for _ in range(1000)]
    assert sorted(answer["id"] for answer in answers if "result" in answer) == list(range(1000))


async def test_more_than_that_is_refused_and_may_be_asked_again(tmp_path: Path) -> None:
    limits = {"messages_per_minute": 0, "queued_messages_per_session": 2000, "turns_per_user": 1}
    async with gateway_process(tmp_path / "home", {"limits": limits}) as gateway, Client(gateway.ws) as alice:
        waiting = [asyncio.ensure_future(alice.call("chat.send", text="count to 2000")) for _ in range(1024)]
        await asyncio.sleep(0.5)
        try:
            await alice.call("health")
            raise AssertionError("it was not refused")
        except Refused as refused:
            assert refused.code == 1007 and refused.data["retryable"] and refused.data["retry_after_ms"] > 0
        for each in waiting:
            each.cancel()
