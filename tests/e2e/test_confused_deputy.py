"""Nobody behind the gateway ever sees a credential of anybody before it, and everybody acts as himself."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.test_app import BridgeProcess
from tests.e2e.gateway_process import ALICE, BOB, Client, Refused, gateway_process
from tests.fakes.openai_server import OpenAIServer

WITNESS = """
import json, os, sys
from mcp.server import MCPServer
mcp = MCPServer("witness")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"environment": dict(os.environ), "argv": sys.argv}) + "\\n")
@mcp.tool()
def tell(text: str) -> str:
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps({"text": text}) + "\\n")
    return "told " + text
mcp.run()
"""
MODEL_KEY = "sk-canary-model-key-0123456789"


@pytest.mark.attack(97)
async def test_no_credential_is_passed_on(tmp_path: Path) -> None:
    program, cloud_log, laptop_log = tmp_path / "witness.py", tmp_path / "cloud.log", tmp_path / "laptop.log"
    program.write_text(WITNESS)
    async with OpenAIServer() as model:
        configuration: dict[str, Any] = {
            "models": [{"name": "m", "base_url": model.url, "api_key": MODEL_KEY, "model": "echo"}],
            "mcp_servers": [{"name": "cloud", "command": sys.executable, "args": [str(program), str(cloud_log)]}],
        }
        async with gateway_process(tmp_path / "home", configuration) as gateway:
            laptop = BridgeProcess(tmp_path / "laptop", gateway.url.replace("http", "ws", 1) + "/tunnel", ALICE)
            laptop.write({"mine": {"command": sys.executable, "args": [str(program), str(laptop_log)]}})
            laptop.start()
            try:
                async with Client(gateway.ws) as alice, Client(gateway.ws, BOB) as bob:
                    async with asyncio.timeout(20):
                        while not {"mine_tell", "cloud_tell"} <= {
                            tool["name"] for tool in (await alice.call("tools.list"))["tools"] if tool["available"]
                        }:
                            await asyncio.sleep(0.05)
                    for name in ("mine_tell", "cloud_tell"):
                        done = await alice.ask(f'!tool {name} {{"text": "{name} for alice"}}')
                        assert done["type"] == "chat.done"
                        await alice.call("tools.call", name=name, arguments={"text": f"{name} bare"})
                    done = await bob.ask('!tool mine_tell {"text": "bob acts as alice"}')
                    with pytest.raises(Refused) as refused:
                        await bob.call("tools.call", name="mine_tell", arguments={"text": "bob acts as alice"})
                    assert refused.value.code == 1003
            finally:
                await laptop.stop()
        said = [json.loads(line).get("text") for line in laptop_log.read_text().splitlines()]
        assert [text for text in said if text] == ["mine_tell for alice", "mine_tell bare"]
        witnessed = cloud_log.read_text() + laptop_log.read_text() + json.dumps(model.requests)
        for secret in (ALICE, BOB, ALICE.partition(".")[2] or ALICE):
            assert secret not in witnessed
        headers = json.dumps(model.headers)
        assert ALICE not in headers and BOB not in headers and MODEL_KEY in headers
        assert MODEL_KEY not in witnessed
    for log in (tmp_path / "home" / "audit.jsonl", tmp_path / "laptop" / "audit.jsonl", laptop.log):
        text = log.read_text()
        assert ALICE not in text and BOB not in text and MODEL_KEY not in text
