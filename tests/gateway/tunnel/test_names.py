"""Public names of the tools of a person's bridges: kept for a bridge, and not without end."""

import pytest

from bridge.protocol import Limits
from gateway.tunnel.bridge import MAX_NAMES, MAX_TOOLS, Bridge
from gateway.tunnel.names import Names


class SilentTrail:
    """Nobody reads what a bridge without a link would write."""

    def note(self, what: str, **detail: object) -> None:
        raise AssertionError(what)


@pytest.mark.attack(51)
def test_a_server_that_names_its_tools_anew_each_time_fills_no_table() -> None:
    names = Names()
    made = [
        Bridge("alice", f"b{n}", "laptop", names=names, limits=Limits(), trail=SilentTrail(), changed=lambda *_: None)
        for n in (1, 2)
    ]
    made[0].adopt({"tools": [{"name": "fs_read"}]})
    made[1].adopt({"tools": [{"name": "fs_read"}]})
    for turn in range(6):
        made[0].adopt({"tools": [{"name": f"t{turn}_{number}"} for number in range(MAX_TOOLS)]})
        assert {spec.name for spec in made[0].specs()} == {f"t{turn}_{number}" for number in range(MAX_TOOLS)}
        assert all(names.route(spec.name) == ("b1", spec.name) for spec in made[0].specs())
        assert len(names.given("b1")) <= MAX_NAMES
    assert [spec.name for spec in made[1].specs()] == ["laptop_fs_read"]
    assert names.route("laptop_fs_read") == ("b2", "fs_read")


def test_a_name_stays_with_its_bridge_while_there_is_room() -> None:
    names = Names()
    for bridge_id, own in (("b1", "fs_read"), ("b2", "fs_read"), ("b1", "fs_write")):
        names.claim(bridge_id, "laptop", own)
    names.forget_old("b1", {"fs_write"}, 2)
    assert names.claim("b1", "laptop", "fs_read") == "fs_read"
    names.free("b1")
    assert names.route("fs_read") is None and names.route("fs_write") is None
    assert names.claim("b2", "laptop", "fs_read") == "laptop_fs_read"
    assert set(names._count) == {"b2"}  # nothing is kept of a bridge that is gone
