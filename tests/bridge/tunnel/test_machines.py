"""Both machines of the tunnel against each other, over a link that drops, duplicates and is cut, with restarts."""

from collections import deque
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import OutcomeUnknown
from bridge.protocol import Answer, BridgeIdentity, BridgeLink, GatewaySession, Limits, Outbox, Outgoing, Send, decode
from bridge.protocol.bridge_effects import Acknowledged, Cancelled, Requested
from bridge.protocol.canonical import new_key
from bridge.protocol.frames import error_frame
from bridge.protocol.gateway_effects import Answered, Failed
from bridge.protocol.hello import read_hello

LARGE = 700_000


@dataclass
class World:
    """One gateway, one bridge, one link at a time. The ledger and the turns are what is on disk."""

    now: float = 0.0
    epoch: int = 0
    gateway: GatewaySession = field(default_factory=lambda: GatewaySession("b"))
    link: BridgeLink | None = None
    outbox: Outbox = field(default_factory=Outbox)
    to_bridge: deque[bytes] = field(default_factory=deque)
    to_gateway: deque[bytes] = field(default_factory=deque)
    ledger: dict[str, tuple[str, str, Answer | None]] = field(default_factory=dict)
    live: dict[str, Requested] = field(default_factory=dict)
    effects: dict[str, int] = field(default_factory=dict)
    awaited: dict[str, int] = field(default_factory=dict)
    results: dict[str, object] = field(default_factory=dict)

    # ------------------------------------------------------------ the gateway's shell

    def call(self, number: int, size: int) -> None:
        key = f"k{number}"
        if key not in self.awaited and key not in self.results:
            self.awaited[key] = size
            self.perform(self.gateway.call(self.outgoing(key, size, repeated=False), self.now))

    def outgoing(self, key: str, size: int, *, repeated: bool) -> Outgoing:
        return Outgoing(
            id="c" + key, method="tools/call", params={"name": "add", "arguments": {"key": key, "size": size}},
            actor={"user": "alice", "channel": "cli"}, idempotency_key=key, remaining=lambda: 60.0, repeated=repeated,
        )  # fmt: skip

    def perform(self, effects: list) -> None:
        for effect in effects:
            match effect:
                case Send():
                    if self.link is not None:
                        self.to_bridge.append(effect.data)
                case Answered():
                    self.resolve(effect.id, effect.payload["result"])
                case Failed():
                    self.resolve(effect.id, effect.error)

    def resolve(self, call_id: str, value: object) -> None:
        key = call_id[1:]
        assert key not in self.results, "a call was answered twice"
        self.results[key] = value
        self.awaited.pop(key)

    # ------------------------------------------------------------ the bridge's shell

    def requested(self, request: Requested) -> None:
        key = request.key
        if key in self.live:
            return
        known = self.ledger.get(key)
        if known is None:
            self.ledger[key] = (request.id, "received", None)
            self.live[key] = request
            self.outbox.running[request.id] = None
        elif known[2] is not None:
            self.deliver(request.id, known[2])
        else:
            unknown = error_frame(OutcomeUnknown(effect="unknown"), request.id)
            self.deliver(request.id, Answer("ERROR", orjson.dumps(orjson.loads(unknown)["payload"])))

    def deliver(self, call_id: str, answer: Answer) -> None:
        self.outbox.answers[call_id] = answer
        self.outbox.running.pop(call_id, None)
        if self.link is not None:
            self.link.answer(call_id)

    def work(self) -> None:
        """The oldest live call goes one step on: begun (with its effect), then done."""
        for key, request in list(self.live.items()):
            call_id, state, _ = self.ledger[key]
            if state == "received":
                self.ledger[key] = (call_id, "started", None)
                self.effects[key] = self.effects.get(key, 0) + 1
            else:
                text = "é" * request.params["arguments"]["size"]
                body = {"jsonrpc": "2.0", "id": call_id, "result": {"key": key, "text": text}}
                answer = Answer("MCP_RESPONSE", orjson.dumps(body))
                self.ledger[key] = (call_id, "done", answer)
                del self.live[key]
                self.deliver(call_id, answer)
            return

    # ------------------------------------------------------------ the link

    def connect(self) -> None:
        self.cut()
        self.link = BridgeLink(
            BridgeIdentity(bridge_id="b", boot_id="boot", name="b", client={}), "t", self.outbox, self.now
        )
        self.link.authenticate()

    def cut(self) -> None:
        self.link = None
        self.to_bridge.clear()
        self.to_gateway.clear()
        if self.gateway.epoch is not None:
            self.gateway.detach(self.gateway.epoch)

    def pull(self) -> None:
        while self.link is not None and (data := self.link.next_frame()) is not None:
            self.to_gateway.append(data)

    def up(self, twice: bool = False) -> None:
        """One frame reaches the gateway."""
        self.pull()
        if not self.to_gateway or self.link is None:
            return
        data = self.to_gateway.popleft()
        for _ in range(2 if twice else 1):
            frame = decode(data)
            if frame.type == "AUTH":
                hello = read_hello(data)
                if self.gateway.epoch is None:
                    self.epoch += 1
                    effects = self.gateway.attach(
                        hello, epoch=self.epoch, key=new_key(), session_id="s", now=self.now
                    )  # fmt: skip
                else:
                    effects = self.gateway.refresh(hello, self.now)
            elif self.gateway.epoch is not None:
                effects = self.gateway.receive(frame, self.epoch, self.now)
            else:
                effects = []
            self.perform(effects)

    def down(self, twice: bool = False) -> None:
        """One frame reaches the bridge."""
        if not self.to_bridge or self.link is None:
            return
        data = self.to_bridge.popleft()
        for _ in range(2 if twice else 1):
            for effect in self.link.receive(decode(data), self.now):
                match effect:
                    case Requested():
                        self.requested(effect)
                    case Acknowledged():
                        self.outbox.answers.pop(effect.id, None)
                    case Cancelled():
                        raise AssertionError("nothing was cancelled")

    # ------------------------------------------------------------ restarts

    def restart_gateway(self) -> None:
        self.cut()
        self.gateway = GatewaySession("b")
        for key, size in self.awaited.items():
            self.perform(self.gateway.call(self.outgoing(key, size, repeated=True), self.now))

    def restart_bridge(self) -> None:
        """What had begun and not ended is 2006 from now on; what had not begun is as if never received."""
        self.cut()
        self.live.clear()
        self.outbox = Outbox()
        for key, (call_id, state, answer) in list(self.ledger.items()):
            if state == "received":
                del self.ledger[key]
            elif state == "started":
                unknown = orjson.loads(error_frame(OutcomeUnknown(effect="unknown"), call_id))["payload"]
                self.ledger[key] = (call_id, "done", Answer("ERROR", orjson.dumps(unknown)))
                self.outbox.answers[call_id] = self.ledger[key][2]
            elif answer is not None:
                self.outbox.answers[call_id] = answer

    def settle(self) -> None:
        """Everything works again: every call must come to its end."""
        if self.link is None:
            self.connect()
        for _ in range(2000):
            self.pull()
            if not self.to_gateway and not self.to_bridge and not self.live:
                break
            self.up()
            self.down()
            self.work()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 5), st.sampled_from([1, 1, 1, LARGE])),
        st.tuples(st.sampled_from(["up", "down", "work"]), st.booleans(), st.just(0)),
        st.tuples(st.sampled_from(["connect", "cut", "restart_gateway", "restart_bridge"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.attack(79)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_each_call_is_done_at_most_once_and_always_ends(steps: list[tuple[str, int, int]]) -> None:
    world = World()
    world.connect()
    for name, first, second in steps:
        match name:
            case "call":
                world.call(first, second)
            case "up":
                world.up(bool(first))
            case "down":
                world.down(bool(first))
            case _:
                getattr(world, name)()
    world.settle()
    assert not world.awaited, f"calls that never ended: {world.awaited}"
    for key, value in world.results.items():
        count = world.effects.get(key, 0)
        if isinstance(value, dict):
            assert count == 1 and value["key"] == key
        else:
            assert isinstance(value, OutcomeUnknown) and count <= 1
    assert all(count == 1 for count in world.effects.values())


def test_without_faults_each_call_is_done_exactly_once() -> None:
    world = World(gateway=GatewaySession("b", Limits(max_in_flight=2)))
    world.connect()
    for number in range(6):
        world.call(number, LARGE if number == 3 else 1)
    world.settle()
    assert world.effects == {f"k{number}": 1 for number in range(6)}
    assert all(isinstance(value, dict) for value in world.results.values())
    assert not world.outbox.answers and not world.outbox.running
