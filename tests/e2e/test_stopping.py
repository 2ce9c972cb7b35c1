"""A clean stop in the middle of everything: a hundred answers on their way, and a tool that is at work."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.gateway_process import Client, GatewayProcess

STREAMS = 100
COUNT = 120
EFFECTS = Path(__file__).parent.parent / "fakes" / "effects_server.py"


def configuration(effects: Path) -> dict[str, Any]:
    return {
        "limits": {"messages_per_minute": 0, "turns_per_user": 2 * STREAMS, "drain_seconds": 1},
        "agent": {"mode": "single"},
        "mcp_servers": [{"name": "effects", "command": sys.executable, "args": [str(EFFECTS), str(effects)]}],
    }


@pytest.mark.slow
@pytest.mark.attack(83)
async def test_a_hundred_answers_and_a_tool_at_work_go_on_after_a_clean_stop(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    gateway = await GatewayProcess(tmp_path / "home", configuration(effects)).start()
    try:
        async with Client(gateway.ws) as client:
            async with asyncio.timeout(20):
                while "effects_append_slowly" not in {t["name"] for t in (await client.call("tools.list"))["tools"]}:
                    await asyncio.sleep(0.05)
            tool = await client.call(
                "chat.send_stream", text='use effects_append_slowly {"line": "once", "seconds": 60}', session_key="tool"
            )
            said = [
                await client.call("chat.send_stream", text=f"count to {COUNT}", session_key=f"s{n}")
                for n in range(STREAMS)
            ]
            await client.until(lambda: effects.exists() and effects.read_text() == "once\n")
            await client.until(lambda: all(client.of(each["message_id"], "chat.delta") for each in said), 30)
            family = psutil.Process(gateway.pid).children(recursive=True)
            assert family, "the tool's server"
            begun = time.monotonic()
            assert await gateway.stop(20) == 0
            assert time.monotonic() - begun < 8
            assert psutil.wait_procs(family, timeout=2)[1] == []
            await asyncio.wait_for(client.closed.wait(), 5)
            assert client.socket.close_code == 1012
        await gateway.start()
        async with Client(gateway.ws) as client:
            for number, accepted in enumerate(said):
                key = f"s{number}"
                async with asyncio.timeout(60):
                    while len(messages := (await client.call("chat.history", session_key=key))["messages"]) < 2:
                        await asyncio.sleep(0.05)
                assert [(m["role"], m["message_id"]) for m in messages] == [
                    ("user", accepted["message_id"]), ("assistant", accepted["message_id"])
                ]  # fmt: skip
                assert messages[1]["text"].split()[-1].strip(".") == str(COUNT)
            async with asyncio.timeout(30):
                while (history := (await client.call("chat.history", session_key="tool"))["messages"])[-1][
                    "role"
                ] != "assistant" or history[-1].get("tool_calls"):
                    await asyncio.sleep(0.05)
            assert {m["message_id"] for m in history} == {tool["message_id"]}
            assert "not known whether it took effect" in " ".join(m["text"] for m in history if m["role"] == "tool")
        assert effects.read_text() == "once\n"
    finally:
        if gateway.process is not None and gateway.process.returncode is None:
            await gateway.stop()
