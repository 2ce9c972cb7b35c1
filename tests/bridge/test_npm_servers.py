"""The official Node servers: real processes over stdio and Streamable HTTP, through the bridge's own code."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.servers.calls import Progress, Question
from bridge.settings import McpServerSettings
from tests.bridge.conftest import call, first_text, running
from tests.bridge.npm import program
from tests.bridge.test_aggregator import aggregating
from tests.bridge.test_real_servers import free_port


def node(name: str, *arguments: str, **more: Any) -> McpServerSettings:
    return McpServerSettings.model_validate({
        "name": name, "command": "node", "args": [program(name), *arguments], "inherit_env": ["AI_BRIDGE_TEST"], **more,
    })  # fmt: skip


async def test_three_of_them_as_one_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    memory = node("memory", env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")})
    async with aggregating(node("everything"), node("filesystem", str(folder)), memory) as aggregator:
        catalogue = aggregator.catalogue()
        assert {server["state"] for server in catalogue["servers"]} == {"ready"}, catalogue["servers"]
        names = {tool["name"] for tool in catalogue["tools"]}
        assert {"everything_echo", "filesystem_read_text_file", "filesystem_write_file", "memory_read_graph"} <= names
        assert catalogue["resources"]
        assert any(prompt["name"].startswith("everything_") for prompt in catalogue["prompts"])
        assert not aggregator.problems()

        async def use(name: str, **arguments: Any) -> str:
            params = {"name": name, "arguments": arguments}
            return first_text(await aggregator.request(name, "tools/call", params))

        assert "hello" in await use("everything_echo", message="hello")
        await use("filesystem_write_file", path=str(folder / "a.txt"), content="written by a tool")
        assert (folder / "a.txt").read_text() == "written by a tool"
        assert "written by a tool" in await use("filesystem_read_text_file", path=str(folder / "a.txt"))
        entity = {"name": "Ada", "entityType": "person", "observations": ["likes tea"]}
        await use("memory_create_entities", entities=[entity])
        assert json.loads(await use("memory_read_graph"))["entities"][0]["name"] == "Ada"
        params = {"name": "filesystem_read_text_file", "arguments": {"path": "/etc/passwd"}}
        outside = await aggregator.request("filesystem_read_text_file", "tools/call", params)
        assert outside["isError"] is True
        resource = catalogue["resources"][0]
        read = await aggregator.request(resource["server"], "resources/read", {"uri": resource["uri"]})
        assert read["contents"]


async def test_progress_and_cancelling_of_everything() -> None:
    async with running(node("everything")) as owner:
        name = next(tool.name for tool in owner.tools if "ongRunning" in tool.name or "long-running" in tool.name)
        heard: list[Progress] = []
        await call(owner, name, {"duration": 0.4, "steps": 2}, on_progress=heard.append)
        assert heard[-1].total == 2
        task = asyncio.create_task(call(owner, name, {"duration": 5, "steps": 5}))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        began = time.monotonic()
        assert "hi" in first_text(await call(owner, "echo", {"message": "hi"}))
        assert time.monotonic() - began < 2


async def test_an_elicitation_of_everything() -> None:
    async def person(question: Question) -> dict[str, Any]:
        return {"action": "decline"}

    async with running(node("everything")) as owner:
        names = [tool.name for tool in owner.tools if "licit" in tool.name]
        assert names, [tool.name for tool in owner.tools]
        result = await call(owner, names[0], {}, on_question=person)
        assert "declin" in json.dumps(result)


@pytest.fixture
def everything_over_http() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        ["node", program("everything"), "streamableHttp"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PORT": str(port)},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "listening" in line:
            break
    yield port
    process.kill()
    process.wait()
    process.stderr.close()


async def test_everything_over_streamable_http(everything_over_http: int) -> None:
    settings = McpServerSettings(name="everything", url=f"http://127.0.0.1:{everything_over_http}/mcp")
    async with running(settings) as owner:
        assert owner.state == "ready", owner.error
        assert "hi" in first_text(await call(owner, "echo", {"message": "hi"}))
        many = await asyncio.gather(*(call(owner, "echo", {"message": str(n)}) for n in range(10)))
        assert all(str(n) in first_text(result) for n, result in enumerate(many))
