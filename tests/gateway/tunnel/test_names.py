"""Public names: they stay with their bridge, and a bridge cannot take them all."""

from bridge.protocol import Limits
from gateway.tunnel.bridge import MAX_NAMES, MAX_TOOLS, Bridge
from gateway.tunnel.names import Names


class SilentTrail:
    async def intent(self, event: str, **fields: object) -> None:
        raise AssertionError(event)

    def note(self, event: str, **fields: object) -> None:
        raise AssertionError(event)


def make(names: Names, bridge_id: str) -> Bridge:
    return Bridge("alice", bridge_id, bridge_id, names=names, limits=Limits(), trail=SilentTrail(), changed=_nobody)


def _nobody(bridge: Bridge, what: str) -> None:
    """Nobody listens."""


def catalogue(*tools: str) -> dict[str, object]:
    return {"revision": "1", "tools": [{"name": name, "server": "fs"} for name in tools]}


def test_a_bridge_that_brings_other_tools_each_time_does_not_fill_the_memory() -> None:
    names = Names()
    laptop = make(names, "laptop")
    for revision in range(20):
        laptop.adopt(catalogue("fs_read", *(f"tool_{revision}_{n}" for n in range(MAX_TOOLS - 1))))
        assert len(names.given("laptop")) <= MAX_NAMES + MAX_TOOLS
        assert {spec.name for spec in laptop.specs()} <= set(names.given("laptop").values())
    assert names.route("fs_read") == ("laptop", "fs_read")
    assert names.route("tool_0_0") is None


def test_a_name_stays_while_its_tool_is_away_for_a_moment() -> None:
    names = Names()
    laptop, desktop = make(names, "laptop"), make(names, "desktop")
    laptop.adopt(catalogue("fs_read"))
    laptop.adopt(catalogue())
    desktop.adopt(catalogue("fs_read"))
    assert [spec.name for spec in desktop.specs()] == ["desktop_fs_read"]
    assert names.route("fs_read") == ("laptop", "fs_read")
