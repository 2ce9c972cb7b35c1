"""The built-in tools as a person uses them: through the demo model, in a process, over a restart."""

import asyncio
import json
from pathlib import Path

from tests.e2e.gateway_process import BOB, Client, GatewayProcess


async def test_memory_and_schedule_survive_a_restart_and_never_cross(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    await gateway.start()
    async with Client(gateway.ws) as client:
        kept = await client.ask('use memory {"action": "remember", "text": "likes green tea"}')
        assert "likes green tea" in kept["text"]
        planned = await client.ask('use schedule {"action": "add", "text": "drink tea", "at": "in 3 seconds"}')
        assert "drink tea" in planned["text"]
    assert await gateway.stop() == 0
    await gateway.start()
    try:
        async with Client(gateway.ws) as client, Client(gateway.ws, BOB) as other:
            reminders: list[str] = []
            async with asyncio.timeout(20):  # by the log: on a slow machine it may be said before anybody listens
                while not reminders:
                    await asyncio.sleep(0.1)
                    history = await client.call("chat.history", session_key="agent:main:websocket:direct:alice")
                    reminders = [m["text"] for m in history["messages"] if "Reminder: drink tea" in m["text"]]
            assert len(reminders) == 1
            assert "green tea" in (await client.ask("/memory"))["text"]
            assert "green tea" not in (await other.ask("/memory"))["text"]
            assert "green tea" not in (await other.ask('use memory {"action": "recall", "query": "tea"}'))["text"]
            assert '"entries": []' in (await client.ask('use schedule {"action": "list"}'))["text"]
            refused = await client.ask('use web_fetch {"url": "http://127.0.0.1:1/"}')
            assert "not on the public internet" in refused["text"]
            listed = {tool["name"]: tool for tool in (await client.call("tools.list"))["tools"]}
            assert {"clock", "calculator", "web_fetch", "web_search", "memory", "schedule"} <= set(listed)
            assert all(listed[name]["source"] == "cloud" for name in ("clock", "memory"))
            found = await client.call("tools.call", name="calculator", arguments={"expression": "2^10"})
            assert found["structured_content"]["result"] == 1024
            wrong = await client.call("tools.call", name="calculator", arguments={"expression": 5})
            assert wrong["is_error"] and "expression" in json.dumps(wrong["content"])
    finally:
        await gateway.stop()
