"""One bridge of one user: its machine, its live link, its catalogue, and who waits for which call.

The thin shell around `bridge.protocol.GatewaySession`: performs its effects. `directory.py` owns these,
`endpoint.py` feeds frames, `tools.py` starts calls. It knows no HTTP and no token.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from agent.ports.tools import Policy, ToolSpec
from bridge.errors import BadParameters
from bridge.protocol import Close, GatewaySession, Hello, Limits, Send, decode
from bridge.protocol.gateway_effects import (
    Answered,
    Catalogue,
    Failed,
    GatewayEffect,
    Leaving,
    Outgoing,
    Progressed,
    Suspicious,
)
from bus.context import timestamp
from bus.errors import GatewayError, OutcomeUnknown, Unreachable, from_code
from bus.events import JsonObject
from gateway.tunnel.names import Names
from gateway.tunnel.ports import Bearer, Trail

MAX_TOOLS = 2000
MAX_OTHERS = 500
MAX_NAMES = 2 * MAX_TOOLS
"""What a bridge may hold of its user's names, with those of tools that it has no more."""
AUTH_COST = 20.0
"""What an AUTH on a live link counts, in frames that nobody asked for: a token has to be checked for it."""
DESCRIPTION_CHARS = 1024


class Wire(Protocol):
    """A socket to a bridge."""

    def send(self, data: bytes, *, urgent: bool = True) -> None:
        """Never raises for a socket that is gone. What is not `urgent` waits for others to go with."""
        ...

    def close_soon(self, code: int, reason: str, last: bytes | None = None) -> None:
        """Close without waiting for a peer that may not read; `last` is sent before."""
        ...


class Waiter(Protocol):
    """Somebody who awaits a call."""

    def answered(self, payload: JsonObject) -> None: ...

    def failed(self, error: GatewayError) -> None: ...

    def progressed(self, payload: JsonObject) -> None: ...


class Bridge:
    """`changed(what)` is called for `connected`, `disconnected` and `tools`."""

    __slots__ = (
        "_changed", "_names", "_specs", "_trail", "_wire", "bearer", "boot_id", "bridge_id", "calls", "catalogue",
        "name", "pending", "refusals", "revoked", "session", "since", "token_id", "user", "waiters",
    )  # fmt: skip

    def __init__(
        self, user: str, bridge_id: str, name: str, *, names: Names, limits: Limits, trail: Trail,
        changed: Callable[["Bridge", str], None],
    ) -> None:  # fmt: skip
        self.user = user
        self.bridge_id = bridge_id
        self.name = name
        self.token_id = ""
        self.boot_id: str | None = None
        self.since = time.time()
        self.catalogue: JsonObject = {}
        self.pending: list[JsonObject] = []
        self.revoked = False
        self.bearer: Bearer | None = None
        self.session = GatewaySession(bridge_id, limits)
        self.waiters: dict[str, Waiter] = {}
        self.calls = 0
        self.refusals = 0
        self._names = names
        self._trail = trail
        self._changed = changed
        self._wire: Wire | None = None
        self._specs: dict[str, ToolSpec] = {}

    @property
    def connected(self) -> bool:
        return self._wire is not None and not self.session.leaving

    @property
    def never_here(self) -> bool:
        """Paired, and never connected since."""
        return self.boot_id is None and self._wire is None and not self._specs

    @property
    def wire(self) -> Wire | None:
        return self._wire

    # ------------------------------------------------------------ connections

    def attach(self, hello: Hello, bearer: Bearer, wire: Wire, *, epoch: int, key: str, session_id: str) -> None:
        """`wire` takes over; the older one is closed: 1001 where the same process came back, else 4509."""
        old, old_boot = self._wire, self.boot_id
        self._wire, self.boot_id, self.bearer, self.token_id = wire, hello.boot_id, bearer, bearer.token_id
        self.name = hello.name or self.name
        self.since = time.time()
        if old is not None:
            same = hello.boot_id is not None and hello.boot_id == old_boot
            old.close_soon(1001 if same else 4509, "a newer connection of this bridge took over")
        effects = self.session.attach(hello, epoch=epoch, key=key, session_id=session_id, now=time.monotonic())
        self.perform(effects)
        if self.pending:
            self.perform(self.session.revoke_grants(self.pending))
        self._changed(self, "connected")

    def detach(self, epoch: int) -> None:
        """The connection with this epoch is gone. An older one changes nothing."""
        if self.session.epoch != epoch:
            return
        self.session.detach(epoch)
        self._wire = None
        self.since = time.time()
        self._changed(self, "disconnected")

    def lock_out(self, reason: str) -> None:
        """Revoked: say so, close, and end what is in flight."""
        for call_id, waiter in list(self.waiters.items()):
            reached = self.session.reached(call_id)
            self.give_up(call_id, "revoked")
            waiter.failed(Unreachable("the bridge was revoked", effect="unknown" if reached else "none"))
        if self._wire is not None:
            words = [effect.data for effect in self.session.goaway("revoked", 0) if isinstance(effect, Send)]
            self._wire.close_soon(4501, reason, words[0] if words else None)
            self.detach(self.session.epoch or 0)

    # ------------------------------------------------------------ frames

    def receive(self, text: str | bytes, epoch: int) -> str:
        """One frame of the connection `epoch`; its type, so that AUTH can be looked after by the endpoint."""
        now = time.monotonic()
        try:
            frame = decode(text)
        except BadParameters as error:
            self.perform(self.session.bad_frame(error, epoch, now))
            return ""
        if frame.type == "AUTH":
            refused = self.session.charge(epoch, now, AUTH_COST)
            self.perform(refused or [])
            return "AUTH" if refused is None else ""
        self.perform(self.session.receive(frame, epoch, now))
        return frame.type

    def perform(self, effects: Sequence[GatewayEffect | Send]) -> None:
        """Do what the machine wants, in order."""
        wire = self._wire
        for effect in effects:
            match effect:
                case Send():
                    if wire is not None:
                        wire.send(effect.data, urgent=effect.urgent)
                case Answered():
                    waiter = self.waiters.pop(effect.id, None)
                    if waiter is not None:
                        waiter.answered(effect.payload)
                case Failed():
                    self.refusals += 1
                    error = from_code(
                        effect.error.code, effect.error.message, retry_after_ms=effect.error.retry_after_ms,
                        effect=effect.error.effect,
                    )  # fmt: skip
                    waiter = self.waiters.pop(effect.id, None)
                    if waiter is not None:
                        waiter.failed(error)
                case Progressed():
                    waiter = self.waiters.get(effect.id)
                    if waiter is not None:
                        waiter.progressed(effect.payload)
                case Catalogue():
                    self.adopt(effect.payload)
                    self._changed(self, "tools")
                case Suspicious():
                    self._trail.note(effect.what, user=self.user, bridge_id=self.bridge_id, **effect.detail)
                case Leaving():
                    pass  # `connected` is false from now on; the event comes when the link is closed
                case Close():
                    if wire is not None:
                        wire.close_soon(effect.code, effect.reason)

    # ------------------------------------------------------------ calls

    def start(self, call: Outgoing, waiter: Waiter) -> None:
        """Send a call for `waiter`. Raises Overloaded, BadParameters (the bridge's own, before anything is sent)."""
        effects = self.session.call(call, time.monotonic())
        self.waiters[call.id] = waiter
        self.calls += 1
        self.perform(effects)

    def give_up(self, call_id: str, reason: str) -> list[GatewayEffect]:
        """Nobody waits for this call any more; what has to be sent."""
        self.waiters.pop(call_id, None)
        return self.session.cancel(call_id, reason)

    def too_late(self, call_id: str) -> GatewayError | None:
        """What a passed deadline means while the bridge is away; None where it is here and works."""
        if self.connected:
            return None
        if self.session.reached(call_id):
            return OutcomeUnknown("the bridge did not come back; whether it was done is unknown", effect="unknown")
        return Unreachable("the bridge is away")

    # ------------------------------------------------------------ catalogue

    def adopt(self, catalogue: JsonObject) -> None:
        """A new catalogue; every tool gets its public name."""
        kept = {name: _rows(catalogue.get(name), MAX_OTHERS) for name in ("servers", "resources", "prompts")}
        tools = _rows(catalogue.get("tools"), MAX_TOOLS)
        self.catalogue = {"revision": str(catalogue.get("revision", ""))[:128], "tools": tools, **kept}
        self._specs = {}
        for tool in tools:
            own = tool.get("name")
            if isinstance(own, str) and 0 < len(own) <= 256:
                self._specs[own] = self._spec(own, tool)
        self._names.forget_old(self.bridge_id, self._specs, MAX_NAMES)

    def _spec(self, own: str, tool: JsonObject) -> ToolSpec:
        schema, policy, annotations = tool.get("inputSchema"), tool.get("policy"), tool.get("annotations")
        known: Policy = policy if policy in ("allow", "ask", "deny") else "ask"
        repeatable = tool.get("idempotent") is True
        reads = isinstance(annotations, dict) and annotations.get("readOnlyHint") is True
        description = tool.get("description")
        return ToolSpec(
            name=self._names.claim(self.bridge_id, self.name, own),
            description=cut(description, DESCRIPTION_CHARS) if isinstance(description, str) else "",
            input_schema=schema if isinstance(schema, dict) else {"type": "object"},
            source="bridge",
            bridge=self.name,
            server=str(tool["server"])[:64] if isinstance(tool.get("server"), str) else None,
            policy=known,
            idempotent=repeatable,
            # The server's word alone would let calls with effects run side by side.
            read_only=repeatable and reads,
        )

    def specs(self) -> list[ToolSpec]:
        """Its tools, with whether they can be called now."""
        here = self.connected
        return [replace_available(spec, here) for spec in self._specs.values()]

    def spec(self, own: str) -> ToolSpec | None:
        spec = self._specs.get(own)
        return None if spec is None else replace_available(spec, self.connected)

    def public(self) -> JsonObject:
        """As `bridge.list` shows it."""
        counts: dict[str, int] = {}
        for spec in self._specs.values():
            counts[spec.server or ""] = counts.get(spec.server or "", 0) + 1
        return {
            "bridge_id": self.bridge_id,
            "name": self.name,
            "connected": self.connected,
            "since": timestamp(self.since),
            "servers": [
                {
                    "name": str(server.get("name", "")),
                    "state": str(server.get("state", "")),
                    "tools": counts.get(str(server.get("name", "")), 0),
                    **({"error": str(server["error"])[:500]} if server.get("error") else {}),
                }
                for server in self.catalogue.get("servers", ())
            ],
            "latency_ms": self.session.latency_ms if self.connected else None,
        }

    @property
    def tool_count(self) -> int:
        return len(self._specs)


def replace_available(spec: ToolSpec, available: bool) -> ToolSpec:
    """The same tool, there or away."""
    return spec if spec.available == available else replace(spec, available=available)


def _rows(value: object, most: int) -> list[JsonObject]:
    return [row for row in value[:most] if isinstance(row, dict)] if isinstance(value, list) else []


def cut(text: str, chars: int) -> str:
    """At most `chars` characters."""
    return text if len(text) <= chars else text[: chars - 1] + "…"
