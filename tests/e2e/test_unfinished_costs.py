"""What was begun is paid for, however it ended: stopped, cut, killed, by a sub-agent; budgets see it."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.e2e.gateway_process import Client, gateway_process
from tests.e2e.test_supervisor import house
from tests.fakes.openai_server import OpenAIServer

PLAN = 'say {"parts": [{"title": "one", "task": "task-one"}, {"title": "two", "task": "task-two"}]}'


async def stopped(client: Client, text: str) -> dict[str, Any]:
    """Ask, stop when it streams; the turn's end."""
    turn = (await client.call("chat.send_stream", text=text))["message_id"]
    await client.until(lambda: client.of(turn, "chat.delta", "chat.error"))
    await client.call("chat.abort", message_id=turn)
    return await client.end(turn)


async def test_stopping_evades_no_budget(tmp_path: Path) -> None:
    async with house(tmp_path, ask=False, budgets={"daily_tokens": 1500}) as (gateway, _), Client(gateway.ws) as client:
        ends = []
        while (end := await stopped(client, "!stalling " + "and more " * 200))["code"] != 1005:
            ends.append(end)
            assert len(ends) < 10
        assert ends and all(end["code"] == 1009 for end in ends)
        for end in ends:
            assert end["usage"]["estimated_tokens"] == end["usage"]["total_tokens"] > 450
        used = (await client.call("usage.get", days=1))["total"]
        assert used["total_tokens"] == used["estimated_tokens"] == sum(end["usage"]["total_tokens"] for end in ends)
        assert used["cost"] > 0 and used["turns"] == len(ends) and used["unpriced_tokens"] == 0
        assert f"{used['estimated_tokens']} estimated" in (await client.ask("/usage"))["text"]


async def test_a_model_without_a_known_price_is_counted_and_its_money_said_to_be_unknown(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        models = [{"name": "main", "base_url": model.url, "api_key": "k", "model": "nobody-knows-it"}]
        async with gateway_process(tmp_path, {"models": models}) as gateway, Client(gateway.ws) as client:
            done = await client.ask("hello")
            assert "cost" not in done["usage"]
            used = (await client.call("usage.get", days=1))["total"]
            assert used["total_tokens"] == used["unpriced_tokens"] == model.usage[0]["total_tokens"]
            assert used["cost"] is None
            assert "without a known price" in (await client.ask("/usage"))["text"]


async def test_what_sub_agents_and_answers_had_begun_is_in_the_sums_beside_what_was_counted(tmp_path: Path) -> None:
    async with house(tmp_path, ask=False, agent={"mode": "multi"}) as (gateway, model), Client(gateway.ws) as client:
        model.script = [
            {"match": "task-one", "do": "stalling"},
            {"match": "task-two", "do": "say two"},
            {"match": "divide this", "do": PLAN},
        ]
        turn = (await client.call("chat.send_stream", text="divide this"))["message_id"]
        await client.until(lambda: [e for e in client.of(turn, "agent.note") if e["state"] == "finished"])
        while len(model.requests) < 3:
            await client.call("health")
        await client.call("chat.abort", message_id=turn)
        assert (await client.end(turn))["code"] == 1009
        used = (await client.call("usage.get", days=1))["total"]
        counted = sum(u["total_tokens"] for u in model.usage)
        assert len(model.usage) == 2 and used["estimated_tokens"] > 0
        assert used["total_tokens"] == counted + used["estimated_tokens"]
        # the same in the figures and in the account's record
        with sqlite3.connect(gateway.home / "accounts.db") as book:
            rows = book.execute("SELECT total, estimated, priced FROM charges").fetchall()
        assert rows == [(used["total_tokens"], used["estimated_tokens"], 1)]


async def test_a_kill_in_mid_answer_is_paid_for_too(tmp_path: Path) -> None:
    async with house(tmp_path, ask=False) as (gateway, model):
        model.script = [{"match": "go on", "do": "stalling", "count": 1}, {"match": "go on", "do": "say whole"}]
        async with Client(gateway.ws) as client:
            turn = (await client.call("chat.send_stream", text="go on " + "x" * 4000))["message_id"]
            await client.until(lambda: client.of(turn, "chat.delta"))
            await gateway.kill()
        await gateway.start()
        async with Client(gateway.ws) as client:
            done = await client.ask("after it")
            assert done["type"] == "chat.done"
            used = (await client.call("usage.get", days=1))["total"]
            assert used["estimated_tokens"] > 1000  # the prompt; how much had been streamed nobody knows any more
            assert used["total_tokens"] == sum(u["total_tokens"] for u in model.usage) + used["estimated_tokens"]
            assert used["turns"] == 2
