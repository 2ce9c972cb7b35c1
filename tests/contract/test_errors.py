"""What errors say, wherever they are told."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.gateway_process import ALICE, Client, GatewayProcess, Refused, gateway_process
from tests.fakes.openai_server import OpenAIServer

SLOW = """
import asyncio
from mcp.server import MCPServer
server = MCPServer("t")
@server.tool()
async def slow() -> str:
    await asyncio.sleep(30)
    return "late"
server.run()
"""


def _models(server: OpenAIServer) -> dict[str, Any]:
    return {"models": [{"name": "main", "base_url": server.url, "api_key": "k", "model": "echo"}]}


async def test_the_event_the_answer_and_the_openai_route_agree_whether_to_try_again(tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {ALICE}"}
    async with (
        OpenAIServer() as model,
        gateway_process(tmp_path / "home", _models(model)) as gateway,
        Client(gateway.ws) as alice,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        for text, retryable in (("!refused-key", False), ("!cut", True)):
            assert (await alice.ask(text))["retryable"] is retryable
            with pytest.raises(Refused) as refused:
                await alice.call("chat.send", text=text)
            assert refused.value.data["retryable"] is retryable
            body = {"model": "main", "messages": [{"role": "user", "content": text}]}
            async with http.post(gateway.url + "/v1/chat/completions", json=body) as response:
                assert (await response.json())["error"]["retryable"] is retryable


async def test_a_call_whose_effect_is_unknown_is_not_to_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    servers = [{"name": "t", "command": sys.executable, "args": [str(tmp_path / "slow.py")]}]
    configuration = {"mcp_servers": servers, "agent": {"tool_seconds": 1}}
    async with gateway_process(tmp_path / "home", configuration) as gateway, Client(gateway.ws) as alice:
        async with asyncio.timeout(15):
            while not any(tool["name"] == "t_slow" for tool in (await alice.call("tools.list"))["tools"]):
                await asyncio.sleep(0.05)
        with pytest.raises(Refused) as refused:
            await alice.call("tools.call", name="t_slow", arguments={})
        assert refused.value.code == 1004 and refused.value.data["retryable"] is False


@pytest.mark.parametrize(
    ("configuration", "code", "said"),
    [
        (
            {"auth": {"tokens": [{"user": "m", "role": "service", "scopes": ["metrics"], "token": "m" * 40}]}},
            2, "auth.tokens[0].scopes: the role service does not hold the scope metrics",
        ),
        ({"server": {"host": "0.0.0.0", "tls_terminated_by_proxy": True}}, 3, "server.host: 0.0.0.0 can be reached"),
        ({"server": {"tls_terminated_by_proxy": True}}, 2, "needs server.trusted_proxies"),
    ],
)  # fmt: skip
async def test_a_wrong_configuration_and_a_dangerous_one(
    tmp_path: Path, configuration: dict[str, Any], code: int, said: str
) -> None:
    gateway = GatewayProcess(tmp_path / "home", configuration)
    with pytest.raises(AssertionError) as failed:
        await gateway.start()
    assert gateway.process is not None and await gateway.process.wait() == code
    assert said in str(failed.value) and "test.yaml:" in str(failed.value)
    checked, _, error = await gateway.command("config", "check")
    assert checked == code and said in error
