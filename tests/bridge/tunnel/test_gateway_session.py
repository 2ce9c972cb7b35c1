"""The gateway's side of a bridge, without a socket: what depends on time, and on processes that are gone."""

import json
from typing import Any

import pytest

from bridge.protocol import Close, GatewaySession, Hello, Limits, Outgoing, Send, decode, new_key
from bridge.protocol.gateway_effects import Answered, Catalogue


def outgoing(call_id: str = "c1", **more: Any) -> Outgoing:
    return Outgoing(
        id=call_id, method="tools/call", params={"name": "t", "arguments": {}}, actor={"user": "alice"},
        idempotency_key=call_id, remaining=lambda: 10.0, **more,
    )  # fmt: skip


def attach(session: GatewaySession, epoch: int = 1, now: float = 0.0, **hello: Any) -> list[dict[str, Any]]:
    return sent(session.attach(Hello("t", **hello), epoch=epoch, key=new_key(), session_id="s", now=now))


def sent(effects: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(effect.data) for effect in effects if isinstance(effect, Send)]


def give(session: GatewaySession, now: float = 0.0, epoch: int = 1, **frame: Any) -> list[Any]:
    return session.receive(decode(json.dumps(frame)), epoch, now)


def test_the_heartbeat() -> None:
    session = GatewaySession("b")
    attach(session)
    assert session.tick(14.9) == []
    (ping,) = sent(session.tick(15.0))
    assert ping["type"] == "PING"
    give(session, 15.012, type="PING", payload={**ping["payload"], "pong": True})
    assert session.latency_ms is not None and 11 <= session.latency_ms <= 13
    assert not any(isinstance(effect, Close) for effect in session.tick(55.0))
    (close,) = session.tick(55.1)
    assert isinstance(close, Close)


@pytest.mark.attack(92)
def test_a_frame_of_an_older_connection_is_fenced() -> None:
    """What comes late on a link that was taken over changes nothing."""
    session = GatewaySession("b")
    attach(session, 1)
    session.call(outgoing(), 0.0)
    attach(session, 2)
    answer = {"type": "MCP_RESPONSE", "id": "c1", "payload": {"result": {}}}
    assert give(session, epoch=1, **answer) == []
    assert any(isinstance(effect, Answered) for effect in give(session, epoch=2, **answer))


def test_calls_of_an_earlier_process_wait_for_their_turn() -> None:
    """Neither forgotten nor cancelled at once; after a minute nobody will come for them."""
    session = GatewaySession("b")
    (auth,) = attach(session, in_flight=[("done-1", "done"), ("run-1", "running"), ("mine", "running")])
    assert auth["payload"]["forget"] == [] and auth["payload"]["cancel"] == []
    assert give(session, type="MCP_RESPONSE", id="done-1", payload={"result": {}}) == []
    assert give(session, type="PROGRESS", id="run-1", payload={"state": "running"}) == []
    (request,) = sent(session.call(outgoing("mine", repeated=True), 1.0))
    assert request["ctl"]["attempt"] == 2
    give(session, 30.0, type="PING", payload={})
    assert [frame["type"] for frame in sent(session.tick(59.0))] == ["PING"]
    give(session, 59.0, type="PING", payload={})
    late = sent(session.tick(60.0))
    assert {(frame["type"], frame.get("id") or frame["payload"].get("of")) for frame in late} == {
        ("ACK", "done-1"), ("CANCEL", "run-1")
    }  # fmt: skip


def test_a_claimed_answer_in_chunks_starts_from_the_beginning() -> None:
    """Chunks of the old stream may still be under way when the turn comes for its call."""
    session = GatewaySession("b")
    attach(session, in_flight=[("c1", "done")])
    chunk = {"type": "CHUNK", "id": "c1"}
    assert give(session, **chunk, payload={"n": 0, "last": False, "data": '{"result":'}) == []
    session.call(outgoing(repeated=True), 0.0)
    assert give(session, **chunk, payload={"n": 1, "last": False, "data": "{}"}) == []
    give(session, **chunk, payload={"n": 0, "last": False, "data": '{"result":'})
    effects = give(session, **chunk, payload={"n": 1, "last": True, "data": "{}}"})
    assert any(isinstance(effect, Answered) and effect.payload == {"result": {}} for effect in effects)


def test_a_person_who_decided_while_the_link_was_down_is_heard() -> None:
    session = GatewaySession("b")
    attach(session)
    session.call(outgoing(), 0.0)
    session.detach(1)
    assert session.tell("c1", confirm={"challenge": "x", "decision": "deny"}) == []
    frames = attach(session, 2, in_flight=[("c1", "running")])
    assert frames[1]["ctl"]["confirm"]["decision"] == "deny" and frames[1]["ctl"]["attempt"] == 2


def test_attempts_rise_for_an_id_that_is_used_again() -> None:
    session = GatewaySession("b")
    attach(session)
    attempts = []
    for _ in range(3):
        (request,) = sent(session.call(outgoing(), 0.0))
        attempts.append(request["ctl"]["attempt"])
        give(session, type="MCP_RESPONSE", id="c1", payload={"result": {}})
    assert attempts == [1, 2, 3]


def test_many_progress_frames_cost_nobody_else_anything() -> None:
    session = GatewaySession("b", Limits(unasked_per_second=10, unasked_burst=20))
    attach(session)
    session.call(outgoing(), 0.0)
    outcomes = [give(session, type="PROGRESS", id="c1", payload={"state": "running"}) for _ in range(40)]
    kinds = [type(effects[0]).__name__ if effects else "" for effects in outcomes]
    assert kinds[:20] == ["Progressed"] * 20 and kinds[20] == "Send" and kinds[31] == "Close"
    assert any(isinstance(e, Answered) for e in give(session, type="MCP_RESPONSE", id="c1", payload={"result": {}}))


def cut_by_a_restart(calls: int, **limits: Any) -> GatewaySession:
    """A gateway after its restart: turns came for their calls before the bridge came back and listed them."""
    session = GatewaySession("b", Limits(**limits))
    for number in range(calls):
        session.call(outgoing(f"c{number}", repeated=True), 0.0)
    frames = attach(session, in_flight=[(f"c{number}", "running") for number in range(calls)])
    assert [frame["type"] for frame in frames] == ["AUTH"]
    return session


def test_a_call_that_an_earlier_process_sent_can_be_cancelled_and_its_late_answer_is_no_strangers() -> None:
    session = cut_by_a_restart(4)
    for number in range(4):
        (cancel,) = sent(session.cancel(f"c{number}", "the deadline passed"))
        assert (cancel["type"], cancel["id"]) == ("CANCEL", f"c{number}")
        (ack,) = give(session, type="MCP_RESPONSE", id=f"c{number}", payload={"result": {}})
        assert json.loads(ack.data) == {"type": "ACK", "payload": {"of": f"c{number}"}}


def test_calls_that_an_earlier_process_sent_wait_for_no_room() -> None:
    """They run at the bridge already; their answers end them, also where there are more than a new one may join."""
    session = cut_by_a_restart(4, max_in_flight=2)
    for number in (3, 2, 1, 0):
        effects = give(session, type="MCP_RESPONSE", id=f"c{number}", payload={"result": {}})
        assert [effect.id for effect in effects if isinstance(effect, Answered)] == [f"c{number}"]


def test_a_call_that_is_claimed_after_the_bridge_came_back_waits_for_no_room_either() -> None:
    session = GatewaySession("b", Limits(max_in_flight=1, max_queued=1))
    attach(session, in_flight=[("c1", "running"), ("c2", "running")])
    session.call(outgoing("c1", repeated=True), 0.0)
    session.call(outgoing("new"), 0.0)
    session.call(outgoing("c2", repeated=True), 0.0)
    effects = give(session, type="MCP_RESPONSE", id="c2", payload={"result": {}})
    assert [effect.id for effect in effects if isinstance(effect, Answered)] == ["c2"]


@pytest.mark.attack(51)
def test_catalogues_without_end_are_a_flood_however_short_their_tools_are() -> None:
    session = GatewaySession("b")
    attach(session)
    tools = [{"name": f"t{number}"} for number in range(1000)]
    frame = {"type": "TOOLS", "payload": {"tools": tools}}
    taken = sum(1 for _ in range(300) if any(isinstance(e, Catalogue) for e in give(session, **frame)))
    assert 50 <= taken <= 100
