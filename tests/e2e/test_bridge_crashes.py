"""SIGKILL for gateway and bridge at random moments of tool calls, and a count of what the server really did."""

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.test_app import BridgeProcess
from tests.e2e.gateway_process import Client, GatewayProcess
from tests.e2e.test_bridge_chat import house, lines, tools_there

CHATS = 6


async def say(client: Client, session: str, line: str, seconds: float) -> str:
    text = f'use effects_append_slowly {{"line": "{line}", "seconds": {seconds}}}'
    accepted = await client.call("chat.send_stream", text=text, session_key=session, idempotency_key=line)
    return str(accepted["message_id"])


async def answers(gateway: GatewayProcess, turns: dict[str, tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Line → the last record of its turn, when all of them have ended."""
    ended: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(90), Client(gateway.ws) as client:
        while len(ended) < len(turns):
            for line, (session, turn) in turns.items():
                history = (await client.call("chat.history", session_key=session))["messages"]
                mine = [message for message in history if message["message_id"] == turn]
                if mine and mine[-1]["role"] == "assistant" and not mine[-1].get("tool_calls"):
                    ended[line] = mine[-1]
            await asyncio.sleep(0.1)
    return ended


async def kill(victim: str, gateway: GatewayProcess, laptop: BridgeProcess) -> None:
    if victim in ("bridge", "both"):
        await laptop.stop(signal.SIGKILL)
        laptop.start()
    if victim in ("gateway", "both"):
        await gateway.kill()
        await gateway.start()


async def rounds(tmp_path: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    async with house(tmp_path) as (gateway, laptop, effects):
        said: dict[str, dict[str, Any]] = {}
        for number in range(count):
            victim = ("gateway", "bridge", "both")[number % 3]
            turns: dict[str, tuple[str, str]] = {}
            async with Client(gateway.ws) as client:
                await tools_there(client)
                for chat in range(CHATS):
                    session, line = f"chat-{number}-{chat}", f"{victim}-{number}-{chat}"
                    turns[line] = (session, await say(client, session, line, round(chance.random() * 0.6, 2)))
                await asyncio.sleep(chance.random() * 0.6)
                await kill(victim, gateway, laptop)
            said |= await answers(gateway, turns)
        done = Counter(lines(effects))
        assert len(said) == count * CHATS
        assert max(done.values()) == 1, done
        for line, message in said.items():
            if f"appended {line}" in message["text"]:
                assert done[line] == 1
        told = sum(f"appended {line}" in message["text"] for line, message in said.items())
        assert told >= len(said) // 3, f"only {told} of {len(said)} came through"


async def test_nothing_is_done_twice(tmp_path: Path) -> None:
    await rounds(tmp_path, 3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_done_twice_for_long(tmp_path: Path, seed: int) -> None:
    await rounds(tmp_path, 12, seed=100 + seed)
