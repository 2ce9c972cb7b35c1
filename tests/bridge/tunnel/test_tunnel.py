"""The tunnel's client: when it comes back, when it does not, and how it leaves a gateway that drains."""

import asyncio
import json
import random
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.protocol.frames import FINAL_CLOSES
from bridge.settings import LinkSettings
from bridge.tunnel import TunnelRefused, backoff
from tests.bridge.tunnel.conftest import Begin
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.raw_gateway import RawGateway
from tests.fakes.tunnel_rig import BridgeRig, until


@pytest.mark.attack(78)
def test_the_backoff() -> None:
    """Full jitter: the first at most the interval, doubling to 30 s, never hammering."""
    for first in (0.05, 1.0, 5.0):
        for attempt in range(40):
            bound = min(30.0, first * 2**attempt)
            waits = [backoff(attempt, first, random.Random(seed).random) for seed in range(200)]
            assert max(waits) <= bound
            assert min(waits) >= min(0.5, bound / 2)
            if bound > 4:
                assert max(waits) - min(waits) > bound / 2
    assert backoff(10**6, 5.0) <= 30.0


async def test_it_comes_back_after_every_cut(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin()
    boots = set()
    for number in range(1, 4):
        link.socket.transport.abort()
        link = await raw.link(number)
        boots.add((await link.welcome())["payload"]["boot_id"])
        await link.frame("TOOLS")
    assert len(boots) == 1 and bridge.error is None


async def test_it_waits_for_a_gateway_that_is_not_there(raw: RawGateway, tmp_path: Path) -> None:
    await raw.stop()
    bridge = BridgeRig(tmp_path / "bridge", raw.url, "token")
    await bridge.start()
    await until(lambda: bridge.tunnel.status.state == "waiting")
    assert "nobody listens" in bridge.tunnel.status.reason
    await raw.start()
    link = await raw.link(0)
    await link.welcome()
    await bridge.connected()
    await bridge.stop()


@pytest.mark.parametrize("code", sorted(FINAL_CLOSES))
async def test_closes_after_which_it_stays_away(begin: Begin, code: int) -> None:
    bridge, link = await begin()
    await link.socket.close(code, "because")
    await until(lambda: bridge.error is not None)
    assert isinstance(bridge.error, TunnelRefused) and bridge.error.code == code
    assert FINAL_CLOSES[code] in str(bridge.error) and "because" in str(bridge.error)
    assert bridge.tunnel.status.state == "stopped"


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 4008, 4029])
async def test_closes_after_which_it_comes_back(begin: Begin, raw: RawGateway, code: int) -> None:
    bridge, link = await begin()
    if code == 1006:
        link.socket.transport.abort()
    else:
        await link.socket.close(code, "")
    await (await raw.link(1)).welcome()
    assert bridge.error is None


async def test_a_refused_token(raw: RawGateway, tmp_path: Path) -> None:
    bridge = BridgeRig(tmp_path / "bridge", raw.url, "wrong")
    await bridge.start()
    link = await raw.link(0)
    await link.frame("AUTH")
    payload = {"code": 1001, "message": "no valid token", "scope": "connection", "retryable": False, "effect": "none"}
    await link.send(type="ERROR", payload=payload)
    await link.socket.close(4501, "no valid token")
    await until(lambda: bridge.error is not None)
    assert "no valid token" in str(bridge.error)
    await bridge.stop()


@pytest.mark.parametrize(("status", "final"), [(401, True), (403, True), (404, False), (502, False)])
async def test_handshakes_that_are_refused(raw: RawGateway, tmp_path: Path, status: int, final: bool) -> None:
    raw.refuse = lambda attempt: (status, {}) if attempt == 1 else None
    bridge = BridgeRig(tmp_path / "bridge", raw.url, "token")
    await bridge.start()
    if final:
        await until(lambda: bridge.error is not None)
        assert isinstance(bridge.error, TunnelRefused) and len(raw.attempts) == 1
    else:
        await (await raw.link(0)).welcome()
        await bridge.connected()
    await bridge.stop()


@pytest.mark.parametrize("form", ["number", "date"])
async def test_retry_after_is_honoured(raw: RawGateway, tmp_path: Path, form: str) -> None:
    value = "1" if form == "number" else formatdate(time.time() + 2, usegmt=True)
    raw.refuse = lambda attempt: (503, {"Retry-After": value}) if attempt == 1 else None
    bridge = BridgeRig(tmp_path / "bridge", raw.url, "token")
    await bridge.start()
    await (await raw.link(0)).welcome()
    assert raw.attempts[1] - raw.attempts[0] >= 1.0
    await bridge.stop()


async def test_the_token_does_not_follow_a_redirect(raw: RawGateway, tmp_path: Path) -> None:
    thief = RawGateway()
    await thief.start()
    raw.refuse = lambda attempt: (302, {"Location": thief.url})
    bridge = BridgeRig(tmp_path / "bridge", raw.url, "token")
    await bridge.start()
    await until(lambda: len(raw.attempts) >= 2)
    assert thief.attempts == [] and thief.links == []
    await bridge.stop()
    await thief.stop()


async def test_on_a_drain_the_new_link_stands_before_the_old_is_left(begin: Begin, raw: RawGateway) -> None:
    bridge, old = await begin()
    await old.request("c1", "fs_slow", {})
    await asyncio.wait_for(bridge.servers.begun.wait(), 5)
    await old.send(type="GOAWAY", payload={"reason": "drain", "reconnect_after_ms": 0})
    new = await raw.link(1)
    auth = await new.frame("AUTH")
    assert auth["payload"]["in_flight"] == [{"id": "c1", "state": "running"}]
    assert old.socket.state.name == "OPEN"
    new.frames.insert(0, auth)
    await new.welcome()
    await asyncio.wait_for(old.socket.wait_closed(), 5)
    assert old.socket.close_code == 1000
    bridge.servers.release.set()
    frame = await new.answer("c1")
    assert frame["type"] == "MCP_RESPONSE" and bridge.servers.cancelled == 0


async def test_superseded_by_itself_is_ignored(begin: Begin, raw: RawGateway) -> None:
    """After a drain the gateway closes the older link of the same process with 1001."""
    bridge, old = await begin()
    await old.send(type="GOAWAY", payload={"reason": "drain", "reconnect_after_ms": 0})
    new = await raw.link(1)
    await new.welcome()
    await old.socket.close(1001)
    await new.request("c1", "fs_add", {"key": "a"})
    assert (await new.answer("c1"))["type"] == "MCP_RESPONSE"
    assert bridge.error is None and len(raw.links) == 2


async def test_the_catalogue_again_whenever_it_changes(begin: Begin) -> None:
    bridge, link = await begin()
    bridge.servers.change("does other things")
    assert (await link.frame("TOOLS"))["payload"]["revision"] == "does other things"


async def test_a_token_is_rotated_on_the_live_link(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin()
    bridge.tunnel.rotate(SecretStr("new-token"))
    assert (await link.frame("AUTH"))["token"] == "new-token"
    assert len(raw.links) == 1
    link.socket.transport.abort()
    assert (await (await raw.link(1)).frame("AUTH"))["token"] == "new-token"


async def test_a_new_token_that_is_refused_gives_way_to_the_one_that_worked(begin: Begin, raw: RawGateway) -> None:
    """Refused on the live link it is tried on one of its own: it may be another user's."""
    bridge, link = await begin()
    bridge.tunnel.rotate(SecretStr("wrong"))
    assert (await link.frame("AUTH"))["token"] == "wrong"
    await link.socket.close(4503, "a tunnel stays with its user")
    again = await raw.link(1)
    assert (await again.frame("AUTH"))["token"] == "wrong"
    await again.socket.close(4501, "no such token")
    back = await raw.link(2)
    assert (await back.welcome())["token"] == "token"
    await back.frame("TOOLS")
    await back.socket.close(4501, "revoked")
    await until(lambda: bridge.error is not None)
    assert isinstance(bridge.error, TunnelRefused) and not bridge.error.token, "it worked once"


async def test_a_new_token_of_another_user_is_taken(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin()
    bridge.tunnel.rotate(SecretStr("of-somebody-else"))
    assert (await link.frame("AUTH"))["token"] == "of-somebody-else"
    await link.socket.close(4503, "a tunnel stays with its user")
    assert (await (await raw.link(1)).welcome())["token"] == "of-somebody-else"
    await (await raw.link(1)).frame("TOOLS")
    (await raw.link(1)).socket.transport.abort()
    assert (await (await raw.link(2)).welcome())["token"] == "of-somebody-else"


async def test_a_clean_stop_says_so_and_finishes_what_runs(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a", "seconds": 0.2})
    await until(lambda: bridge.servers.count() == {"a": 1})
    leaving = asyncio.create_task(bridge.tunnel.leave(5.0))
    assert (await link.frame("GOAWAY"))["payload"]["reason"] == "drain"
    assert (await link.answer("c1"))["type"] == "MCP_RESPONSE"
    await leaving
    assert link.socket.close_code == 1000


async def test_a_clean_stop_does_not_wait_for_a_yes(begin: Begin) -> None:
    bridge, link = await begin(rules={"ask": ["add"]})
    await link.request("c1", "fs_add", {"key": "a"})
    assert (await link.frame("PROGRESS", call_id="c1"))["payload"]["state"] == "awaiting_confirm"
    async with asyncio.timeout(5):
        await bridge.tunnel.leave(60.0)
    assert bridge.servers.count() == {}


@pytest.mark.attack(77)
async def test_a_gateway_that_falls_silent_is_left(raw: RawGateway, tmp_path: Path, monkeypatch: Any) -> None:
    """Half-open: no FIN, no frame. With the clock of the machine at a hundredth."""
    monkeypatch.setattr("bridge.protocol.bridge_side.DEAD_SECONDS", 0.4)
    proxy = FaultProxy(raw.port)
    await proxy.start()
    bridge = BridgeRig(tmp_path / "bridge", f"ws://127.0.0.1:{proxy.port}/tunnel", "token")
    await bridge.start()
    await (await raw.link(0)).welcome()
    await bridge.connected()
    proxy.stall()
    await until(lambda: bridge.tunnel.status.state != "connected", 2)
    assert "no sign of life" in bridge.tunnel.status.reason
    await bridge.stop()
    await proxy.stop()


@pytest.mark.quiet
@pytest.mark.attack(51)
async def test_a_large_answer_holds_up_neither_a_ping_nor_another_call(begin: Begin) -> None:
    """A 100 MB result, refused by no one: PING and small calls go between its chunks."""
    bridge, link = await begin()
    bridge.calls.set_limit(200_000_000)
    await link.request("big", "fs_big", {"chars": 100_000_000, "letter": "a"}, deadline_ms=60_000)
    await link.frame("CHUNK", seconds=20)
    clock, took = asyncio.get_running_loop().time, []
    for number in range(15):
        began = clock()
        await link.send(type="PING", id=f"p{number}", payload={"t": number})
        await link.frame("PING", call_id=f"p{number}")
        took.append(clock() - began)
        began = clock()
        await link.request(f"small{number}", "fs_echo", {"text": "x"})
        await link.answer(f"small{number}")
        took.append(clock() - began)
        chunks = [frame["payload"] for frame in link.frames if frame["type"] == "CHUNK"]
        link.frames.clear()
        assert not any(chunk["last"] for chunk in chunks)
        credit = sum(len(chunk["data"]) for chunk in chunks)
        if credit:
            await link.send(type="WINDOW", id="big", payload={"credit": credit})
            await link.send(type="WINDOW", payload={"credit": credit})
    took.sort()
    assert took[len(took) * 3 // 4] < 0.1, took  # the slowest few are the machine's, which runs other things too
    assert took[-1] < 2.0, took


def test_a_tunnel_is_only_built_for_a_safe_address() -> None:
    from bridge.tunnel import Tunnel

    for url in ("ws://example.org/tunnel", "ws://10.0.0.1/tunnel", "ws://127.0.0.1.evil.example/tunnel"):
        settings = LinkSettings(url=url, token=SecretStr("t"))
        with pytest.raises(TunnelRefused, match="wss"):
            Tunnel(settings, None, None, None, None)


async def test_secrets_are_in_no_status(begin: Begin) -> None:
    bridge, _link = await begin()
    assert "token" not in json.dumps([bridge.tunnel.status.state, bridge.tunnel.status.reason])
