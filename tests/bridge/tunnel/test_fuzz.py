"""Frames that nobody should send: both machines and the reader survive them with the errors they name."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import BadParameters
from bridge.protocol import (
    Answer,
    BridgeIdentity,
    BridgeLink,
    Frame,
    GatewaySession,
    Hello,
    Limits,
    Outbox,
    Outgoing,
    Refusal,
    decode,
    read_hello,
    signature,
)
from bridge.protocol.canonical import decode_key, new_key
from bridge.protocol.frames import TYPES

ODD = st.sampled_from([None, True, 0, -1, 1, 2**53, 2**70, 1.5, "", "x", "é", "\ud800", [], {}, ["a"], {"a": []}])
MEMBERS = (
    "t", "pong", "n", "last", "data", "credit", "of", "reason", "reconnect_after_ms", "code", "message", "effect",
    "state", "challenge", "expires_in_ms", "progress", "tools", "servers", "result", "error", "protocol", "in_flight",
    "bridge_id", "boot_id", "forget", "cancel", "limits", "ok", "epoch", "sign_key", "revoke", "params", "method",
)  # fmt: skip
PAYLOADS = st.one_of(ODD, st.dictionaries(st.sampled_from(MEMBERS), st.one_of(ODD, st.lists(ODD, max_size=3))))
FRAMES = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(sorted(TYPES)), ODD)},
    optional={
        "id": st.one_of(st.sampled_from(["c1", "c2", "gone"]), ODD),
        "payload": PAYLOADS,
        "token": ODD,
        "ctl": PAYLOADS,
        "sig": ODD,
        "must_understand": ODD,
    },
)
MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def read(frame: dict[str, Any]) -> Frame | None:
    try:
        return decode(json.dumps(frame))
    except BadParameters:
        return None


@pytest.mark.attack(23)
@MANY
@given(st.one_of(st.text(), st.binary()))
def test_what_is_no_frame_at_all(data: str | bytes) -> None:
    try:
        assert isinstance(decode(data), Frame)
    except BadParameters:
        pass


@pytest.mark.attack(23)
@MANY
@given(FRAMES)
def test_a_first_frame_is_a_hello_or_refused(frame: dict[str, Any]) -> None:
    try:
        assert isinstance(read_hello(json.dumps(frame)), Hello)
    except Refusal as refusal:
        assert refusal.close in (4501, 4505)


@pytest.mark.attack(23)
@MANY
@given(st.lists(FRAMES, max_size=12))
def test_the_gateways_side(frames: list[dict[str, Any]]) -> None:
    session = GatewaySession("b", Limits(max_result_bytes=1000))
    session.attach(Hello("t", in_flight=[("c2", "running")]), epoch=1, key=new_key(), session_id="s", now=0.0)
    params = {"name": "t", "arguments": {}}
    session.call(
        Outgoing(id="c1", method="tools/call", params=params, actor={}, idempotency_key="k", remaining=lambda: 1.0), 0.0
    )
    for now, frame in enumerate(frames):
        known = read(frame)
        if known is not None:
            session.receive(known, 1, float(now))
        session.tick(float(now))


@pytest.mark.attack(23)
@MANY
@given(st.lists(FRAMES, max_size=12), st.booleans())
def test_the_bridges_side(frames: list[dict[str, Any]], signed: bool) -> None:
    """Signed by the right key or not: a gateway in wrong hands has it."""
    outbox, key = Outbox(), new_key()
    outbox.answers["c1"] = Answer("MCP_RESPONSE", b"{}")
    outbox.running["c2"] = None
    link = BridgeLink(BridgeIdentity(bridge_id="b", boot_id="x", name="n", client={}), "t", outbox, 0.0)
    link.authenticate()
    link.receive(Frame("AUTH", payload={"ok": True, "epoch": 1, "sign_key": key}), 0.0)
    for now, frame in enumerate(frames):
        known = read(frame)
        if known is None:
            continue
        if signed and known.control is not None and known.id is not None:
            known.control.setdefault("epoch", 1)
            known.control.setdefault("attempt", now + 1)
            try:
                known.signature = signature(decode_key(key), known.id, "b", known.payload, known.control)
            except (BadParameters, AttributeError):
                pass
        try:
            link.receive(known, float(now))
        except BadParameters:
            assert known.type == "AUTH"  # an answer to AUTH that makes no sense ends the link
        link.tick(float(now))
        while link.next_frame() is not None:
            pass
