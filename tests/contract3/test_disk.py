"""What lies on the disk, read while the gateway runs."""

import asyncio
import json
from pathlib import Path

from tests.e2e.gateway_process import Client, gateway_process


async def test_every_file_of_lines_under_sessions_is_a_session_while_the_gateway_runs_and_after_a_crash(
    tmp_path: Path,
) -> None:
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as alice:
        for key in ("one", "two", "one"):
            await alice.call("chat.send", text="hello", session_key=key)

        def sessions() -> dict[str, list[int]]:
            found = {}
            for file in (gateway.home / "sessions").rglob("*.jsonl"):
                head, *rest = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
                assert head["version"] == 1 and head["owner"] == "alice" and head["created_at"].endswith("Z")
                assert all(record["type"] and record["timestamp"].endswith("Z") for record in rest)
                found[head["session_key"]] = [record["seq"] for record in rest]
            return found

        async with asyncio.timeout(5):
            while {key: len(numbers) for key, numbers in sessions().items()} != {"one": 6, "two": 3}:
                await asyncio.sleep(0.05)
        assert all(numbers == sorted(set(numbers)) for numbers in sessions().values())
        await gateway.kill()
        assert set(sessions()) == {"one", "two"}
