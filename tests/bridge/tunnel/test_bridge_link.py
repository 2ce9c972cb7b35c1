"""The bridge's side of one connection, without a socket."""

import json
from itertools import pairwise
from typing import Any

import pytest

from bridge.errors import OutcomeUnknown
from bridge.protocol import Answer, BridgeIdentity, BridgeLink, Close, Outbox, decode, signature
from bridge.protocol.bridge_effects import Acknowledged, Cancelled, Complaint, GoAway, Requested, Welcome
from bridge.protocol.canonical import decode_key, new_key
from bridge.protocol.frames import error_frame

IDENTITY = BridgeIdentity(bridge_id="b", boot_id="boot", name="laptop", client={"name": "ai-bridge"})


class Wire:
    """A link and what it sent."""

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.outbox = outbox or Outbox()
        self.key = new_key()
        self.link = BridgeLink(IDENTITY, "token", self.outbox, 0.0)
        self.link.authenticate()
        self.auths = self.sent()

    def sent(self) -> list[dict[str, Any]]:
        frames = []
        while (data := self.link.next_frame()) is not None:
            frames.append(json.loads(data))
        return frames

    def welcome(self, now: float = 0.0, **payload: Any) -> list[Any]:
        whole = {
            "ok": True, "bridge_id": "b", "session_id": "s", "epoch": 5, "heartbeat_ms": 15000, "sign_key": self.key,
            "limits": {"max_result_bytes": 1000}, "forget": [], "cancel": [], **payload,
        }  # fmt: skip
        return self.give(now, type="AUTH", id="auth-0", payload=whole)

    def give(self, now: float = 0.0, **frame: Any) -> list[Any]:
        return self.link.receive(decode(json.dumps(frame)), now)

    def request(self, call_id: str = "c1", *, now: float = 0.0, sig: str | None = None, **changes: Any) -> list[Any]:
        params = changes.pop("params", {"name": "fs_add", "arguments": {"a": 1}})
        payload = {"jsonrpc": "2.0", "id": call_id, "method": changes.pop("method", "tools/call"), "params": params}
        control = {"deadline_ms": 1000, "idempotency_key": "k", "attempt": 1, "epoch": 5,
                   "actor": {"user": "alice", "channel": "cli"}, **changes}  # fmt: skip
        signed = sig or signature(decode_key(self.key), call_id, "b", payload, control)
        return self.give(now, type="MCP_REQUEST", id=call_id, payload=payload, ctl=control, sig=signed)


def test_the_auth_frame() -> None:
    (auth,) = Wire().auths
    assert auth["type"] == "AUTH" and auth["token"] == "token"
    assert auth["payload"] == {
        "protocol": {"min": 1, "max": 1}, "bridge_id": "b", "boot_id": "boot", "name": "laptop",
        "client": {"name": "ai-bridge"}, "in_flight": [],
    }  # fmt: skip


def test_more_than_500_calls_are_told_in_pages() -> None:
    outbox = Outbox()
    outbox.running = dict.fromkeys(f"r{number}" for number in range(900))
    outbox.answers = {f"d{number}": Answer("MCP_RESPONSE", b"{}") for number in range(300)}
    auths = Wire(outbox).auths
    assert [len(auth["payload"]["in_flight"]) for auth in auths] == [500, 500, 200]
    listed = [(row["id"], row["state"]) for auth in auths for row in auth["payload"]["in_flight"]]
    assert len(set(listed)) == 1200 and listed[0] == ("d0", "done") and listed[-1] == ("r899", "running")


def test_a_good_request() -> None:
    wire = Wire()
    (welcome,) = wire.welcome()
    assert welcome == Welcome(True, 1000)
    (requested,) = wire.request()
    assert isinstance(requested, Requested)
    assert (requested.id, requested.key, requested.remaining, requested.params["arguments"]) == (
        "c1",
        "k",
        1.0,
        {"a": 1},
    )
    assert wire.sent() == []


@pytest.mark.attack(39)
def test_refused_frames_carry_no_id_and_end_no_call() -> None:
    wire = Wire()
    wire.welcome()
    assert len(wire.request()) == 1
    refusals = [
        wire.request(sig="0" * 64, attempt=2), wire.request(sig="é", attempt=2), wire.request(epoch=4, attempt=2),
        wire.request(epoch=6, attempt=2), wire.request(), wire.give(type="MCP_REQUEST", id="c1", payload={}),
    ]  # fmt: skip
    assert refusals == [[]] * 6
    errors = wire.sent()
    assert [error["payload"]["code"] for error in errors] == [2000] * 6
    assert all("id" not in error and error["payload"]["scope"] == "connection" for error in errors)
    assert len(wire.request(attempt=2)) == 1


@pytest.mark.attack(39)
def test_a_call_recorded_on_another_connection() -> None:
    old, new = Wire(), Wire()
    old.welcome()
    new.welcome(epoch=6)
    payload = {"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "fs_add", "arguments": {}}}
    control = {"deadline_ms": 1000, "idempotency_key": "k", "attempt": 1, "epoch": 5, "actor": {"user": "alice"}}
    recorded = signature(decode_key(old.key), "c", "b", payload, control)
    for epoch in (5, 6):
        frame = {
            "type": "MCP_REQUEST",
            "id": "c",
            "payload": payload,
            "ctl": {**control, "epoch": epoch},
            "sig": recorded,
        }
        assert new.give(**frame) == []
    assert [error["payload"]["code"] for error in new.sent()] == [2000, 2000]


def test_nothing_runs_before_the_gateway_said_yes() -> None:
    wire = Wire()
    assert wire.request() == [] and wire.sent() == []


@pytest.mark.parametrize(
    "changes",
    [{"params": {"name": "t", "arguments": [1]}}, {"idempotency_key": ""}, {"actor": {}}, {"deadline_ms": "1"},
     {"attempt": 0}, {"confirm": "yes"}, {"idempotency_key": None}],
    ids=str,
)  # fmt: skip
def test_a_signed_request_of_a_wrong_kind_is_1000(changes: dict[str, Any]) -> None:
    wire = Wire()
    wire.welcome()
    assert wire.request(**changes) == []
    (error,) = wire.sent()
    assert error["payload"]["code"] == 1000 and error["id"] == "c1" and error["payload"]["effect"] == "none"


def test_integers_beyond_2_53_are_1000() -> None:
    wire = Wire()
    wire.welcome()
    assert wire.request(sig="0" * 64, params={"name": "t", "arguments": {"a": 2**53}}) == []
    assert [error["payload"]["code"] for error in wire.sent()] == [1000]


def test_progress_is_at_most_four_a_second_and_the_latest_wins() -> None:
    wire = Wire()
    wire.welcome()
    sent: list[tuple[float, int]] = []
    for tick in range(100):  # a second, a step every 10 ms
        now = tick / 100
        wire.link.progress("c", {"state": "running", "progress": tick}, now)
        wire.link.tick(now)
        sent += [(now, frame["payload"]["progress"]) for frame in wire.sent() if frame["type"] == "PROGRESS"]
    assert 4 <= len(sent) <= 5
    assert all(later[0] - earlier[0] >= 0.25 for earlier, later in pairwise(sent))
    wire.link.tick(1.3)
    assert [frame["payload"]["progress"] for frame in wire.sent()] == [99]


def test_an_answer_is_kept_until_it_is_acknowledged() -> None:
    wire = Wire()
    wire.welcome()
    wire.outbox.answers["c1"] = Answer("MCP_RESPONSE", b'{"result":{}}')
    wire.link.answer("c1")
    assert [frame["id"] for frame in wire.sent()] == ["c1"]
    again = Wire(wire.outbox)
    assert again.auths[0]["payload"]["in_flight"] == [{"id": "c1", "state": "done"}]
    again.welcome()
    assert [(frame["type"], frame["id"]) for frame in again.sent()] == [("MCP_RESPONSE", "c1")]
    assert again.give(type="ACK", payload={"of": "c1"}) == [Acknowledged("c1")]
    assert not wire.outbox.answers


def test_errors_that_end_a_call_are_kept_too() -> None:
    wire = Wire()
    payload = json.dumps(json.loads(error_frame(OutcomeUnknown(effect="unknown"), "c1"))["payload"]).encode()
    wire.outbox.answers["c1"] = Answer("ERROR", payload)
    wire.welcome()
    (error,) = wire.sent()
    assert error["type"] == "ERROR" and error["id"] == "c1" and error["payload"]["code"] == 2006
    assert error["payload"]["effect"] == "unknown" and error["payload"]["scope"] == "call"


def test_forget_and_cancel() -> None:
    outbox = Outbox()
    outbox.answers = {"d1": Answer("MCP_RESPONSE", b"{}"), "d2": Answer("MCP_RESPONSE", b"{}")}
    wire = Wire(outbox)
    effects = wire.welcome(forget=["d1"], cancel=["r1"])
    assert effects[1:] == [Acknowledged("d1"), Cancelled("r1", "nobody awaits this call")]
    assert [frame["id"] for frame in wire.sent()] == ["d2"]


def test_only_large_answers_are_chunked() -> None:
    wire = Wire()
    wire.welcome()
    for size, kinds in ((256 * 1024, {"MCP_RESPONSE"}), (256 * 1024 + 1, {"CHUNK"})):
        wire.outbox.answers["c"] = Answer("MCP_RESPONSE", b'"' + b"1" * (size - 2) + b'"')
        wire.link.answer("c")
        assert {frame["type"] for frame in wire.sent()} == kinds


def test_no_frame_is_longer_than_the_gateway_takes() -> None:
    wire = Wire()
    wire.welcome(limits={"max_frame_bytes": 20_000})
    for size in (10_000, 19_000, 300_000):
        text = json.dumps('"\\ü' * (size // 4), ensure_ascii=False).encode()
        wire.outbox.answers["c" * 128] = Answer("MCP_RESPONSE", text)
        wire.link.answer("c" * 128)
        frames = []
        while (data := wire.link.next_frame()) is not None:
            assert len(data) <= 20_000
            frames.append(json.loads(data))
        if size == 10_000:
            assert [frame["payload"] for frame in frames] == [json.loads(text)]
        else:
            assert "".join(frame["payload"]["data"] for frame in frames).encode() == text


def test_a_ping_passes_a_large_answer() -> None:
    wire = Wire()
    wire.welcome()
    wire.outbox.answers["c"] = Answer("MCP_RESPONSE", b'"' + b"1" * 900_000 + b'"')
    wire.link.answer("c")
    assert json.loads(wire.link.next_frame() or b"")["type"] == "CHUNK"
    wire.give(type="PING", id="p", payload={"t": 4})
    wire.outbox.answers["small"] = Answer("MCP_RESPONSE", b"{}")
    wire.link.answer("small")
    assert json.loads(wire.link.next_frame() or b"") == {"type": "PING", "id": "p", "payload": {"t": 4, "pong": True}}
    assert json.loads(wire.link.next_frame() or b"")["type"] == "MCP_RESPONSE"


def test_the_heartbeat_and_a_dead_link() -> None:
    wire = Wire()
    wire.welcome()
    assert wire.link.tick(14.9) == [] and wire.sent() == []
    wire.link.tick(15.0)
    assert [frame["type"] for frame in wire.sent()] == ["PING"]
    assert wire.link.next_tick(15.0) == pytest.approx(15.0)
    wire.give(20.0, type="PING", payload={"t": 1, "pong": True})
    assert wire.link.tick(59.0) == []
    (close,) = wire.link.tick(60.0)
    assert isinstance(close, Close)


def test_unknown_frames() -> None:
    wire = Wire()
    wire.welcome()
    assert wire.give(type="NEW", payload={}) == [] and wire.sent() == []
    assert wire.give(type="NEW", must_understand=True) == []
    (error,) = wire.sent()
    assert error["payload"]["code"] == 1000 and "id" not in error


def test_goaway_and_complaints() -> None:
    wire = Wire()
    wire.welcome()
    assert wire.give(type="GOAWAY", payload={"reason": "drain", "reconnect_after_ms": 700}) == [GoAway("drain", 700)]
    (complaint,) = wire.give(type="ERROR", payload={"code": 1005, "message": "slow", "effect": "none"})
    assert isinstance(complaint, Complaint) and complaint.error.code == 1005


def test_a_token_is_rotated() -> None:
    wire = Wire()
    wire.welcome()
    wire.link.authenticate("new")
    (auth,) = wire.sent()
    assert auth["token"] == "new"
    assert wire.welcome(epoch=99, sign_key="") == [Welcome(False, 1000)]
    assert len(wire.request()) == 1
