"""What an MCP server answers and no JSON writer takes: whoever asked gets an answer all the same, on every way."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bus.events import ApprovalRequested
from gateway.packets import Packet
from tests.gateway.edge.harness import bearer, running

SERVER = r"""
import json, sys
ODD = {
    "surrogate": '{"x": "\\ud800"}', "large": '{"x": %d}' % (1 << 80), "nan": '{"x": NaN}',
    "all": '{"x": NaN, "y": %d, "z": "\\udfff"}' % (1 << 80), "deep": '{"x": %s%s}' % ("[" * 900, "]" * 900),
}
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    method = request["method"]
    if method == "initialize":
        result = json.dumps({"protocolVersion": request["params"]["protocolVersion"], "capabilities": {"tools": {}},
                             "serverInfo": {"name": "odd", "version": "1"}})
    elif method == "tools/list":
        result = json.dumps({"tools": [{"name": "odd", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        odd = ODD[request["params"]["arguments"]["kind"]]
        result = '{"content": [{"type": "text", "text": "odd"}], "structuredContent": %s}' % odd
    else:
        result = "{}"
    print('{"jsonrpc": "2.0", "id": %s, "result": %s}' % (json.dumps(request["id"]), result), flush=True)
"""
KINDS = ("surrogate", "large", "nan", "all", "deep")


@pytest.mark.attack(45)
async def test_an_odd_result_is_answered_on_the_socket_over_http_and_in_batches(tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text(SERVER)
    servers = [{"name": "odd", "command": sys.executable, "args": [str(script)]}]
    async with running(tmp_path / "home", mcp_servers=servers) as gateway, gateway.client("alice") as client:
        async with asyncio.timeout(10):
            while "odd_odd" not in [tool["name"] for tool in (await client.call("tools.list"))["tools"]]:
                await asyncio.sleep(0.05)
        for kind in KINDS:
            params = {"name": "odd_odd", "arguments": {"kind": kind}}
            found = await client.ask("tools.call", **params)
            assert ("result" in found) != ("error" in found), kind
            if "error" in found:
                assert found["error"]["code"] == 2005, (kind, found)
            over_http = await gateway.rpc("tools.call", "alice", **params)
            assert over_http["id"] == 1 and ("result" in over_http) == ("result" in found), kind
        batch = [
            {"jsonrpc": "2.0", "id": kind, "method": "tools.call",
             "params": {"name": "odd_odd", "arguments": {"kind": kind}}}
            for kind in KINDS
        ]  # fmt: skip
        await client.send(batch)
        assert [one["id"] for one in await client.frame()] == list(KINDS)
        async with gateway.http.post(gateway.url + "/api/v1/rpc", json=batch, headers=bearer("alice")) as response:
            assert response.status == 200
            assert [one["id"] for one in await response.json()] == list(KINDS)


def test_an_event_with_arguments_that_no_writer_takes_arrives_without_them() -> None:
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    event = ApprovalRequested(user="alice", approval_id="a", call_id="c", tool="t", arguments={"deep": deep},
                              risk="ask", expires_at="2030-01-01T00:00:00Z")  # fmt: skip
    params = json.loads(Packet(event).payload)["params"]
    assert (params["type"], params["approval_id"], params["tool"]) == ("approval.requested", "a", "t")
