"""Calls from the guard through a real socket to a real bridge and back."""

from pathlib import Path

from tests.fakes.tunnel_rig import Caller, rig, tool_call


async def test_a_call_comes_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as (gateway, bridge):
        result = await Caller(gateway).call(tool_call("fs_add", {"key": "a"}))
        assert result.content == ({"type": "text", "text": "added a"},)
        assert not result.is_error and result.effect == "done"
        assert bridge.servers.count() == {"a": 1}
