"""Who has which bridges: user → bridges, present or away.

The newest connection of a bridge wins; each gets a higher epoch, which fences the one before. What is remembered
lies in `remembered.py`. `endpoint.py` brings connections, `tools.py` asks for routes, the methods `bridge.*` ask
for lists. A bridge belongs to its token's user whatever it says about itself.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.protocol import Hello, Limits, new_key
from bus.context import new_id
from bus.errors import Forbidden, NotAuthenticated, NotFound, TokenExpired
from bus.events import Actor, BridgeConnected, BridgeDisconnected, JsonObject, ToolsChanged
from bus.message_bus import Events
from gateway.tunnel.bridge import Bridge, Wire
from gateway.tunnel.names import Names
from gateway.tunnel.pairing import Pairing
from gateway.tunnel.ports import Bearer, Gate, TokenMaker, Trail
from gateway.tunnel.remembered import Remembered, Row
from gateway.tunnel.saving import Saver

MAX_BRIDGES = 50
"""Of one user; the one that is away for longest makes room."""
_LOOK_SECONDS = 0.25
_SLICE = 50
"""Bridges that are looked after in one step of the event loop: a thousand take it a millisecond."""
_MOST_PENDING = 200


@dataclass(frozen=True, slots=True)
class Attached:
    """A connection that was let in."""

    bridge: Bridge
    epoch: int


class Directory:
    """All bridges. `run` keeps the heartbeats and looks for revoked tokens; it lives until cancelled."""

    def __init__(
        self, *, home: Path, gate: Gate, tokens: TokenMaker | None, events: Events, trail: Trail,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.limits = limits or Limits()
        self.pairing = Pairing(tokens)
        self._gate = gate
        self._tokens = tokens
        self._events = events
        self._trail = trail
        self._bridges: dict[str, dict[str, Bridge]] = {}
        self._names: dict[str, Names] = {}
        self._last_epoch = 0
        remembered = Remembered(home / "bridges.db")
        self._saver = Saver(remembered, self._row, trail)
        for row in remembered.load():
            self._restore(row)

    # ------------------------------------------------------------ connections

    def attach(self, hello: Hello, bearer: Bearer, wire: Wire) -> Attached:
        """Let a connection in. Raises Forbidden without the scope `tunnel`, NotAuthenticated for a revoked bridge."""
        if "tunnel" not in bearer.scopes:
            raise Forbidden("this token may not open a tunnel")
        bridge = self._find_or_make(hello, bearer)
        if bridge.revoked and bridge.token_id == bearer.token_id:
            raise NotAuthenticated("this bridge was revoked: pair it again")
        bridge.revoked = False
        self._last_epoch = max(self._last_epoch + 1, int(time.time() * 1000))
        epoch = self._last_epoch
        bridge.attach(hello, bearer, wire, epoch=epoch, key=new_key(), session_id=new_id("tun"))
        return Attached(bridge, epoch)

    def refresh(self, attached: Attached, hello: Hello) -> None:
        """An AUTH on a live connection. Raises NotAuthenticated, TokenExpired, Forbidden (another user)."""
        bearer = self._gate.token(hello.token)
        if bearer.user != attached.bridge.user or "tunnel" not in bearer.scopes:
            raise Forbidden("a tunnel stays with its user")
        bridge = attached.bridge
        if bridge.session.epoch != attached.epoch:
            return
        bridge.bearer, bridge.token_id = bearer, bearer.token_id
        bridge.perform(bridge.session.refresh(hello, time.monotonic()))

    def detach(self, attached: Attached) -> None:
        attached.bridge.detach(attached.epoch)

    async def run(self) -> None:
        """Four times a second: heartbeats, links that died, tokens that are worth nothing any more."""
        while True:
            bridges = list(self._all())
            pause = _LOOK_SECONDS / max(1, -(-len(bridges) // _SLICE))
            for at in range(0, max(1, len(bridges)), _SLICE):
                await asyncio.sleep(pause)
                for bridge in bridges[at : at + _SLICE]:
                    self._look_after(bridge)

    def _look_after(self, bridge: Bridge) -> None:
        if bridge.wire is None:
            return
        try:
            self._gate.recheck(bridge.bearer)
        except (NotAuthenticated, TokenExpired) as error:
            bridge.lock_out(error.message)
            return
        effects = bridge.session.tick(time.monotonic())
        if effects:
            bridge.perform(effects)

    def drain(self, reconnect_after_ms: int = 1000) -> None:
        """The gateway stops soon: bridges look for another link."""
        for bridge in self._all():
            bridge.perform(bridge.session.goaway("drain", reconnect_after_ms))

    def leave(self) -> None:
        """Close every link (1001), while there still is a listener that lets the goodbye out."""
        for bridge in list(self._all()):
            if bridge.wire is not None:
                bridge.wire.close_soon(1001, "the gateway stops")

    async def close(self) -> None:
        """Close every link and the file."""
        self.leave()
        await self._saver.close()

    # ------------------------------------------------------------ looking up

    def bridges_of(self, user: str) -> list[Bridge]:
        """The bridges of a user, oldest first, those away too."""
        return [bridge for bridge in self._bridges.get(user, {}).values() if not bridge.revoked]

    def find(self, user: str, public_name: str) -> tuple[Bridge, str] | None:
        """The bridge and its own name of a tool."""
        names = self._names.get(user)
        route = None if names is None else names.route(public_name)
        if route is None:
            return None
        bridge = self._bridges[user].get(route[0])
        return None if bridge is None or bridge.revoked or bridge.spec(route[1]) is None else (bridge, route[1])

    async def list_bridges(self, user: str) -> Sequence[JsonObject]:
        """`bridge.list`."""
        return [bridge.public() for bridge in self.bridges_of(user)]

    def stats(self) -> JsonObject:
        """For `/status` and the metrics."""
        bridges = list(self._all())
        present = [bridge for bridge in bridges if bridge.connected]
        latencies = [bridge.session.latency_ms for bridge in present if bridge.session.latency_ms is not None]
        return {
            "connected": len(present), "known": len(bridges), "calls": sum(bridge.calls for bridge in bridges),
            "in_flight": sum(bridge.session.waiting for bridge in bridges),
            "refused": sum(bridge.refusals for bridge in bridges),
            "latency_ms": round(sum(latencies) / len(latencies), 3) if latencies else None,
        }  # fmt: skip

    # ------------------------------------------------------------ letting in and out

    async def pair(self, code: str, actor: Actor) -> str:
        """A person confirms the code that a bridge shows. Raises NotFound, RateLimited."""
        name, bridge_id, token_id = self.pairing.confirm(code, actor.user)
        bridge = self._bridges.get(actor.user, {}).get(bridge_id) or self._make(actor.user, bridge_id, name)
        bridge.token_id, bridge.revoked = token_id, False
        self._saver.save(bridge)
        return bridge_id

    async def revoke(self, bridge_id: str, actor: Actor) -> bool:
        """Lock a bridge out and forget its names. A token that can do nothing else goes with it. Raises NotFound."""
        bridge = self._named(actor.user, bridge_id)
        if bridge is None or bridge.revoked:
            raise NotFound("no such bridge")
        bearer = bridge.bearer
        tunnel_only = bearer is None or bearer.scopes == frozenset({"tunnel"})
        bridge.revoked = True
        bridge.lock_out("this bridge was revoked")
        self._names[actor.user].free(bridge.bridge_id)
        bridge.adopt({})
        self._saver.save(bridge)
        self._trail.note("bridge.revoked", user=actor.user, bridge_id=bridge.bridge_id)
        self._publish(bridge, "tools")
        if self._tokens is not None and tunnel_only and bridge.token_id:
            await self._tokens.revoke(bridge.token_id)
        return True

    async def forget(self, user: str) -> None:
        """A user is gone: his bridges are locked out, and nothing is remembered of them."""
        for bridge in self._bridges.pop(user, {}).values():
            bridge.revoked = True
            bridge.lock_out("this user was removed")
            self._saver.forget(bridge)
        self._names.pop(user, None)

    async def token_gone(self, token_id: str) -> None:
        """A token was revoked: whoever came with it is let go at once."""
        for bridge in list(self._all()):
            if bridge.wire is not None and bridge.token_id == token_id:
                bridge.lock_out("the token was revoked")

    async def permission_gone(self, user: str, bridge_id: str, own_tool: str, session_key: str) -> None:
        """Its user takes a permission back: the bridge, which keeps it, is told now and whenever it comes."""
        bridge = self._bridges.get(user, {}).get(bridge_id)
        if bridge is not None:
            grant = {"user": user, "tool": own_tool, "session_key": session_key}
            bridge.pending = [*(kept for kept in bridge.pending if kept != grant), grant][-_MOST_PENDING:]
            self._saver.save(bridge)
            bridge.perform(bridge.session.revoke_grants([grant]))

    async def permission_given(self, user: str, bridge_id: str, own_tool: str, session_key: str) -> None:
        """Given once more: what was taken back before is not said again."""
        bridge = self._bridges.get(user, {}).get(bridge_id)
        if bridge is not None:
            grant = {"user": user, "tool": own_tool, "session_key": session_key}
            bridge.pending = [kept for kept in bridge.pending if kept != grant]
            self._saver.save(bridge)

    # ------------------------------------------------------------ inside

    def _all(self) -> Iterator[Bridge]:
        for bridges in self._bridges.values():
            yield from bridges.values()

    def _find_or_make(self, hello: Hello, bearer: Bearer) -> Bridge:
        """The bridge that dials: by its own id, or, where it gives none, by its token."""
        mine = self._bridges.get(bearer.user, {})
        paired = next((b for b in mine.values() if b.token_id == bearer.token_id), None)
        if hello.bridge_id is None:
            if paired is not None and paired.boot_id is not None:
                paired = mine.get(bearer.token_id)  # a bridge that says who it is shares this token
            name = hello.name or bearer.token_name or bearer.token_id
            return paired or self._make(bearer.user, bearer.token_id, name)
        found = mine.get(hello.bridge_id)
        if found is None:
            if paired is not None and paired.never_here:
                del mine[paired.bridge_id]  # the place that its pairing kept for it
                self._saver.forget(paired)
            found = self._make(bearer.user, hello.bridge_id, hello.name or hello.bridge_id)
        return found

    def _named(self, user: str, bridge_id: str) -> Bridge | None:
        """A bridge by its id, or by the one that its pairing gave."""
        mine = self._bridges.get(user, {})
        return mine.get(bridge_id) or next(
            (b for b in mine.values() if b.token_id and self.pairing.bridge_of(b.token_id) == bridge_id), None
        )

    def _make(self, user: str, bridge_id: str, name: str) -> Bridge:
        mine = self._bridges.setdefault(user, {})
        if len(mine) >= MAX_BRIDGES:
            away = sorted((b for b in mine.values() if b.wire is None), key=lambda b: b.since)
            if not away:
                raise Forbidden(f"a user has at most {MAX_BRIDGES} bridges")
            self._names[user].free(away[0].bridge_id)
            del mine[away[0].bridge_id]
            self._saver.forget(away[0])
        bridge = mine[bridge_id] = Bridge(
            user, bridge_id, name, names=self._names.setdefault(user, Names()), limits=self.limits,
            trail=self._trail, changed=self._publish,
        )  # fmt: skip
        return bridge

    def _restore(self, row: Row) -> None:
        bridge = self._make(row.user, row.bridge_id, row.name)
        for own, public in row.names.items():
            self._names[row.user].restore(public, row.bridge_id, own)
        bridge.token_id, bridge.since, bridge.pending, bridge.revoked = (
            row.token_id, row.since, row.pending, row.revoked
        )  # fmt: skip
        bridge.adopt(row.catalogue)

    def _publish(self, bridge: Bridge, what: str) -> None:
        kind = {"connected": BridgeConnected, "disconnected": BridgeDisconnected, "tools": ToolsChanged}[what]
        self._events.publish(
            kind(user=bridge.user, bridge_id=bridge.bridge_id, name=bridge.name, tools=bridge.tool_count)
        )
        if not self._forgotten(bridge):
            self._saver.save(bridge)

    def _forgotten(self, bridge: Bridge) -> bool:
        return self._bridges.get(bridge.user, {}).get(bridge.bridge_id) is not bridge

    def _row(self, bridge: Bridge) -> Row:
        names = self._names.get(bridge.user) or Names()  # none where he was forgotten meanwhile
        return Row(
            user=bridge.user, bridge_id=bridge.bridge_id, name=bridge.name, token_id=bridge.token_id,
            since=bridge.since, catalogue=bridge.catalogue, names=names.given(bridge.bridge_id),
            pending=list(bridge.pending), revoked=bridge.revoked,
        )  # fmt: skip
