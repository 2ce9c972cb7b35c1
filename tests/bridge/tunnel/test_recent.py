"""What is remembered for a while: marks, ids, and how often a call was sent."""

from typing import Any

from bridge.protocol import GatewaySession
from bridge.protocol.gateway_calls import _REMEMBERED_IDS
from bridge.protocol.outbox import _SEEN, Outbox
from bridge.protocol.recent import Recent
from tests.bridge.tunnel.test_gateway_session import attach, give, outgoing, sent


def test_the_last_ones_are_known_and_what_is_long_ago_is_forgotten() -> None:
    recent: Recent[int, str] = Recent(10)
    forgotten: set[int] = set()
    for number in range(100):
        forgotten |= recent.put(number, str(number)).keys()
        assert all(recent.get(known, "") == str(known) for known in range(max(0, number - 9), number + 1))
        assert sum(known in recent for known in range(number + 1)) < 20
        assert all((known in recent) != (known in forgotten) for known in range(number + 1))
    assert recent.get(3, "gone") == "gone"


def test_what_came_again_keeps_its_last_value() -> None:
    recent: Recent[str, int] = Recent(3)
    for number in range(9):
        recent.put("same", number)
        recent.put(f"other {number}", 0)
        assert recent.get("same", -1) == number


def test_a_call_that_is_awaited_through_many_others_goes_again_with_the_next_attempt() -> None:
    """Or the bridge would refuse it as seen before."""
    session = GatewaySession("b")
    attach(session)
    (first,) = sent(session.call(outgoing("long"), 0.0))
    assert first["ctl"]["attempt"] == 1
    for number in range(3 * _REMEMBERED_IDS):
        session.call(outgoing(f"c{number}"), 0.0)
        give(session, type="MCP_RESPONSE", id=f"c{number}", payload={"result": {}})
    frames: list[dict[str, Any]] = attach(session, 2)
    (again,) = [frame for frame in frames if frame["type"] == "MCP_REQUEST"]
    assert again["id"] == "long" and again["ctl"]["attempt"] == 2


def test_a_frame_is_new_once_in_its_epoch() -> None:
    outbox = Outbox()
    assert outbox.first_time(1, "c1", 1)
    for number in range(_SEEN - 1):
        assert outbox.first_time(1, f"d{number}", 1)
    assert not outbox.first_time(1, "c1", 1)
    assert outbox.first_time(1, "c1", 2)
    assert outbox.first_time(2, "c1", 1)
    assert not outbox.first_time(1, "c1", 1), "the old connection is still there while the new one begins"
