"""Several agents: bindings explained on the command line, taken over from a changed file while the gateway runs."""

import asyncio
import json
from pathlib import Path

from ruamel.yaml import YAML

from tests.e2e.gateway_process import Client, GatewayProcess, gateway_process
from tests.fakes.openai_server import OpenAIServer


def rewrite(gateway: GatewayProcess, **changes: object) -> None:
    """The configuration as an editor writes it: a new file in the old one's place."""
    gateway.configuration.update(changes)
    fresh = gateway.home / "fresh.yaml"
    with fresh.open("w") as file:
        YAML(typ="safe", pure=True).dump(gateway.configuration, file)
    fresh.replace(gateway.home / "test.yaml")


async def test_agents_answer_as_themselves_and_change_while_serving(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        configuration = {
            "models": [{"name": "m", "base_url": model.url, "api_key": "k", "model": "scripted"}],
            "agent": {"mode": "single"},
            "agents": {"poet": {"system_prompt": "You rhyme.", "tools": ["clock"]}},
            "bindings": [{"agent": "poet", "channel": "telegram", "peer": "42"}],
        }
        async with gateway_process(tmp_path, configuration) as gateway, Client(gateway.ws) as client:
            key = "agent:poet:websocket:direct:alice"
            await client.ask("hello", session_key=key)
            assert model.requests[-1]["messages"][0]["content"].startswith("You rhyme.")
            assert [tool["function"]["name"] for tool in model.requests[-1]["tools"]] == ["clock"]

            code, out, _ = await gateway.command("route", "explain", "telegram", "42", "--json")
            assert (code, json.loads(out)["agent"]) == (0, "poet")
            _, out, _ = await gateway.command("route", "explain", "discord", "42", "--json")
            assert json.loads(out)["agent"] == "main"

            await asyncio.sleep(1.5)  # the watcher starts when the start is over
            (gateway.home / "test.yaml").write_text("agents: [this is no map")
            await asyncio.sleep(0.6)
            rewrite(gateway, agents={"poet": {"system_prompt": "You sing."}})
            async with asyncio.timeout(10):
                while not model.requests[-1]["messages"][0]["content"].startswith("You sing."):
                    await asyncio.sleep(0.3)
                    await client.ask("again", session_key=key)
