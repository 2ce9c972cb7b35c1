"""The first five minutes with a bridge, as docs/bridge.md tells them, and the gateway's own MCP servers."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.bridge.conftest import HOSTILE
from tests.bridge.npm import program
from tests.bridge.test_real_servers import REAL
from tests.e2e.gateway_process import Client, gateway_process


async def bridge(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment | {"HOME": str(home)}, cwd=home,
    )  # fmt: skip


async def done(process: asyncio.subprocess.Process) -> tuple[int, str]:
    out, error = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode() + error.decode()


async def test_import_check_pair_and_use(tmp_path: Path) -> None:
    laptop = tmp_path / "laptop"
    notes = laptop / "notes"
    notes.mkdir(parents=True)
    claude = laptop / ".config" / "Claude" / "claude_desktop_config.json"
    claude.parent.mkdir(parents=True)
    files = {"command": "node", "args": [program("filesystem"), str(notes)]}
    claude.write_text(json.dumps({"mcpServers": {"files": files}}))
    code, said = await done(await bridge(laptop, "import", "--all"))
    assert code == 0, said
    code, said = await done(await bridge(laptop, "check"))
    assert (code, "files: ready" in said) == (0, True), said
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as client:
        url = gateway.url.replace("http", "ws", 1) + "/v1/tunnel"
        running = await bridge(laptop, "connect", url, "--pair", "--name", "desk")
        try:
            assert running.stdout is not None
            line = (await asyncio.wait_for(running.stdout.readline(), 15)).decode()
            assert line.startswith("code: ")
            answer = await client.ask(f"/bridge pair {line.split()[1]}")
            assert answer["type"] == "chat.done", answer
            async with asyncio.timeout(20):
                while not any(tool["available"] for tool in (await client.call("tools.list"))["tools"]
                              if tool["name"] == "files_write_file"):  # fmt: skip
                    await asyncio.sleep(0.05)
            arguments = {"path": str(notes / "a.txt"), "content": "from the chat"}
            call = asyncio.create_task(client.call("tools.call", name="files_write_file", arguments=arguments))
            await client.until(lambda: [e for e in client.events if e["type"] == "approval.requested"])
            (asked,) = (await client.call("approval.list"))["approvals"]
            await client.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
            assert (await call)["is_error"] is False
            assert (notes / "a.txt").read_text() == "from the chat"
        finally:
            running.terminate()
            code, said = await done(running)
        assert code == 0, said


async def test_the_gateways_own_mcp_servers(tmp_path: Path) -> None:
    servers = [
        {"name": "real", "command": sys.executable, "args": [REAL, "stdio"], "tools": {"deny": ["die"]}},
        {"name": "memory", "command": "node", "args": [program("memory")],
         "env": {"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}},
        {"name": "broken", "command": sys.executable, "args": [HOSTILE, "crash"]},
    ]  # fmt: skip
    async with gateway_process(tmp_path / "home", {"mcp_servers": servers}) as gateway, Client(gateway.ws) as client:
        async with asyncio.timeout(20):
            while not {"real_add", "memory_read_graph"} <= {
                tool["name"] for tool in (await client.call("tools.list"))["tools"]
            }:
                await asyncio.sleep(0.05)
        done_ = await client.ask('use real_add {"a": 20, "b": 22}')
        assert "42" in done_["text"]
        tool = next(tool for tool in (await client.call("tools.list"))["tools"] if tool["name"] == "real_add")
        assert (tool["source"], tool["server"], tool["policy"]) == ("cloud", "real", "allow")
        graph = await client.call("tools.call", name="memory_read_graph", arguments={})
        assert graph["is_error"] is False
        assert await gateway.stop() == 0
    left = tmp_path / "home" / "mcp" / "servers.json"
    assert not left.exists()
