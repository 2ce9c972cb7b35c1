"""A chat, a platform that loses answers, and a clock that is turned by hand."""

import random
from dataclasses import dataclass, field

from channels.base import Address, Capabilities, Rate
from channels.delivery import ChatDelivery
from channels.errors import (
    ChannelError,
    ChannelUnavailable,
    DeliveryRejected,
    EditExpired,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)
from channels.items import PLACEHOLDER, Call, Delete, Draft, Edit, Item, Probe, Send, Turn, Wait
from channels.text import take_piece

HERE = Address(kind="direct", chat="42")
PLAIN = Capabilities(max_chars=100, edits=True, direct_rate=Rate(4, 1.0), total_rate=Rate(30, 30))
NONCE = Capabilities(max_chars=100, edits=True, nonce_seconds=120, direct_rate=Rate(4, 1.0))
DRAFTS = Capabilities(max_chars=100, edits=True, drafts=True, direct_rate=Rate(4, 1.0))
COUNTED = Capabilities(max_chars=100, edits=True, counts_messages=True, direct_rate=Rate(4, 1.0))


@dataclass
class ForgetfulPlatform:
    """Shows messages; may lose its answer after it showed one.

    Where it counts, `between` says what takes numbers before each of our messages: so many of other people's, and so
    many in chats that we don't see.
    """

    nonces: bool = False
    counts: bool = False
    between: list[tuple[int, int]] = field(default_factory=list)
    last: int = 100
    others: set[int] = field(default_factory=set)
    shown: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    by_nonce: dict[str, str] = field(default_factory=dict)
    draft: str = ""

    def perform(self, call: Call, now: float) -> tuple[str, ChannelError | None]:
        self.calls.append(type(call).__name__)
        self.times.append(now)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "429":
            return "", RateLimited(7)
        if fault == "flood":
            return "", RateLimited(1200)
        if fault == "503":
            return "", ChannelUnavailable("503")
        if fault == "refused":
            return "", DeliveryRejected("blocked")
        if fault == "lost":
            return "", OutcomeUnknown("lost before")
        if isinstance(call, Probe) and (refusal := self._try_number(call)) is not None:
            return "", refusal
        found = self._do(call)
        return (found, OutcomeUnknown("timed out after it was accepted")) if fault == "timeout" else (found, None)

    def _try_number(self, call: Probe) -> ChannelError | None:
        if call.platform_id in self.shown:
            assert self.shown[call.platform_id] == PLACEHOLDER.markdown, "a text of ours was overwritten"
            return None
        return EditExpired("not ours") if int(call.platform_id) in self.others else MessageGone("no such message")

    def _number(self) -> str:
        theirs, elsewhere = self.between.pop(0) if self.between else (0, 0)
        self.others |= set(range(self.last + 1, self.last + 1 + theirs))
        self.last += theirs + elsewhere + 1
        return str(self.last)

    def _do(self, call: Call) -> str:
        match call:
            case Send(item, body):
                if self.nonces and item.nonce in self.by_nonce:
                    return self.by_nonce[item.nonce]
                identifier = self._number() if self.counts else f"n{len(self.by_nonce)}"
                self.by_nonce[item.nonce] = identifier
                self.shown[identifier] = body.markdown
                self.draft = ""
                return identifier
            case Edit(item, body):
                assert item.platform_id in self.shown
                self.shown[str(item.platform_id)] = body.markdown
            case Delete(item):
                self.shown.pop(str(item.platform_id), None)
            case Draft(_, body):
                self.draft = body.markdown
        return ""

    @property
    def visible(self) -> list[str]:
        return list(self.shown.values())


class Bench:
    """A chat, a platform and a clock."""

    def __init__(self, capabilities: Capabilities = PLAIN, faults: list[str] | None = None) -> None:
        self.now = 1000.0
        self.platform = ForgetfulPlatform(
            nonces=bool(capabilities.nonce_seconds), counts=capabilities.counts_messages, faults=faults or []
        )
        self.chat = self.machine(capabilities)
        self.capabilities = capabilities
        self.everything: dict[str, Item] = {}

    def machine(self, capabilities: Capabilities) -> ChatDelivery:
        limit = capabilities.max_chars
        return ChatDelivery(capabilities, lambda m: take_piece(m, limit, len), group=False, now=self.now)

    def turn(self, mode: str = "edit", name: str = "m1") -> Turn:
        turn = Turn(message_id=name, session="s", address=HERE, reply_to="100")
        self.chat.begin(turn, mode)
        return turn

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now <= end:
            call = self.chat.next(self.now)
            self.everything.update(self.chat.changed)
            if call is None:
                self.now = end + 0.001
                return
            if isinstance(call, Wait):
                assert call.seconds > 0
                self.now += call.seconds + 0.001
                continue
            self.now += 0.05
            identifier, error = self.platform.perform(call, self.now)
            self.chat.outcome(call, self.now, platform_id=identifier, error=error)
            self.everything.update(self.chat.changed)
        self.now = end

    def stream(self, chance: random.Random, restarts: list[int], text: str = "") -> str:
        """After `text`, forty deltas at random times, a restart behind some of them, and the end; the whole text."""
        for step in range(40):
            if word := f"w{step} " * chance.randint(0, 4):
                text += word
                self.chat.delta("m1", word, self.now)
            self.run(chance.random() * 2)
            if step in restarts:
                self.restart()
                self.chat.started("m1")
                self.chat.delta("m1", text, self.now)
        text += "end"
        self.chat.finish("m1", text)
        self.run(3000)
        return text

    def restart(self) -> None:
        """What the outbox does: only what was kept comes back."""
        turns = list(self.chat.turns.values())
        kept = sorted(self.everything.values(), key=lambda i: (i.index,))
        self.chat = self.machine(self.capabilities)
        for old in turns:
            self.chat.begin(Turn(message_id=old.message_id, session="s", address=HERE, reply_to="100"), old.mode)
        for item in kept:
            if not item.settled or item.turn in self.chat.turns:
                self.chat.restore(item, self.now)

    def states(self) -> list[str]:
        return [item.state for item in self.everything.values() if item.reason != "withdrawn"]


def comes_whole_where_it_is_gone(bench: Bench) -> None:
    """The turn ends, and its last edit finds the streamed message deleted: the answer is shown anew."""
    bench.chat.finish("m1", "whole")
    call = bench.chat.next(bench.now + 5)
    assert isinstance(call, Edit)
    bench.chat.outcome(call, bench.now + 5, error=MessageGone("deleted"))
    bench.now += 6
    bench.run(10)
    assert bench.platform.visible == ["whole"]
