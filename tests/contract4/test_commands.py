"""Exit codes that differed."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.e2e.gateway_process import GatewayProcess


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "garbage"])
async def test_an_address_that_is_none_is_a_mistake_in_the_usage(tmp_path: Path, url: str) -> None:
    code, out, error = await GatewayProcess(tmp_path).command("chat", "--url", url, "hello")
    assert (code, out) == (2, "") and url in error


@pytest.mark.attack(84)
async def test_what_is_in_effect_is_shown_without_the_secrets_in_arguments(tmp_path: Path) -> None:
    canary, unseen = "canary-0123456789", "unseen-0123456789"
    arguments = ["--api-key", canary, f"--token={canary}", "-x", "plain", "--keyboard", "qwerty", f"header:{canary}"]
    server = {"name": "one", "command": "true", "args": arguments, "env": {"A_KEY": canary}}
    addresses = [f"https://mcp.example/{number}?{query}" for number, query in enumerate(
        (f"key={unseen}2&lang=en", f"lang=en&exaApiKey={unseen}3", f"access_token={unseen}4", f"a=b&sig={unseen}5")
    )]  # fmt: skip
    remote = [{"name": f"remote{number}", "url": address} for number, address in enumerate(addresses)]
    gateway = GatewayProcess(tmp_path, {"mcp_servers": [server, *remote]})
    with (tmp_path / "test.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(gateway.configuration, file)
    code, out, _ = await gateway.command("config", "show", "--json")
    assert code == 0 and canary not in out and unseen not in out
    shown = json.loads(out)["mcp_servers"][0]["args"]
    assert shown == ["--api-key", "***", "--token=***", "-x", "plain", "--keyboard", "qwerty", "header:***"]
    assert json.loads(out)["mcp_servers"][1]["url"] == "https://mcp.example/0?key=***&lang=en"
