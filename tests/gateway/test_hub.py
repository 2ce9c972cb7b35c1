"""The hub: who gets what, in which order, and what may be asked for again."""

import pytest

from bus.errors import EventsGone
from bus.events import Accepted, BridgeConnected, ChatDelta, ChatDone, ChatMessage, ChatStarted, Event, Usage
from bus.keys import SessionKey
from gateway.hub import Hub
from gateway.packets import Packet

KEY = SessionKey("agent:main:websocket:direct:alice")
OTHER = SessionKey("notes", "alice")


class Listening:
    """A reader that remembers."""

    def __init__(self, origin: str = "") -> None:
        self.origin = origin
        self.events: list[Event] = []

    def push(self, packet: Packet) -> None:
        self.events.append(packet.event)

    @property
    def seqs(self) -> list[int]:
        return [e.seq for e in self.events]


def delta(seq: int, text: str = "x", message_id: str = "m1", key: SessionKey = KEY) -> ChatDelta:
    return ChatDelta(key, message_id, seq, text)


def done(seq: int, message_id: str = "m1", key: SessionKey = KEY) -> ChatDone:
    return ChatDone(session=key, message_id=message_id, seq=seq, text="x", finish_reason="stop", usage=Usage())


def said(seq: int, origin: str) -> ChatMessage:
    return ChatMessage(
        session=KEY, message_id="m1", seq=seq, role="user", text="hi", channel="websocket", origin=origin
    )


def test_a_sender_follows_his_turn_until_it_ends_and_gets_his_reply_first() -> None:
    hub, reader = Hub(), Listening("c1")
    reading = hub.hold(reader, KEY)
    hub.deliver(delta(1, message_id="m0"))
    hub.deliver(said(2, "c1"))
    hub.deliver(delta(3))
    assert reader.events == []
    hub.follow(reading, Accepted(message_id="m1", session=KEY, seq=2), [], running=True)
    hub.deliver(delta(4))
    hub.deliver(done(5))
    hub.deliver(delta(6, message_id="m2"))
    assert reader.seqs == [3, 4, 5]
    assert hub.stats()["readers"] == 0


def test_what_came_after_the_end_of_a_turn_is_not_told_to_who_only_follows_it() -> None:
    """A slash command ends before its reply is written; another's answer went on beside it meanwhile."""
    hub, reader = Hub(), Listening("c1")
    reading = hub.hold(reader, KEY)
    hub.deliver(delta(3))
    hub.deliver(done(4))
    hub.deliver(delta(5, message_id="m0"))
    hub.follow(reading, Accepted(message_id="m1", session=KEY, seq=2), [], running=True)
    assert reader.seqs == [3, 4]
    assert hub.stats()["readers"] == 0


def test_a_turn_that_ended_before_its_reply_was_written_is_still_told() -> None:
    hub, reader = Hub(), Listening("c1")
    reading = hub.hold(reader, KEY)
    hub.deliver(delta(2))
    hub.deliver(done(3))
    hub.follow(reading, Accepted(message_id="m1", session=KEY, seq=1), [], running=True)
    assert reader.seqs == [2, 3]
    assert hub.stats()["readers"] == 0


def test_a_failed_message_leaves_nothing_behind() -> None:
    hub, reader = Hub(), Listening("c1")
    hub.release(hub.hold(reader, KEY))
    hub.deliver(delta(1))
    assert reader.events == []


def test_two_messages_at_once_are_both_followed() -> None:
    hub, reader = Hub(), Listening("c1")
    first, second = hub.hold(reader, KEY), hub.hold(reader, KEY)
    hub.follow(first, Accepted(message_id="m1", session=KEY, seq=1), [], running=True)
    hub.deliver(delta(3))
    hub.deliver(done(4))
    hub.release(second)
    assert reader.seqs == [3, 4]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_turn_that_ends_while_the_next_message_is_handed_in_is_told_to_its_end(accepted: bool) -> None:
    hub, reader = Hub(), Listening("c1")
    hub.follow(hub.hold(reader, KEY), Accepted(message_id="m1", session=KEY, seq=1), [], running=True)
    hub.deliver(delta(2))
    reading = hub.hold(reader, KEY)
    hub.deliver(done(3))
    if accepted:
        hub.follow(reading, Accepted(message_id="m2", session=KEY, seq=4), [], running=True)
        hub.deliver(delta(5, message_id="m2"))
    else:
        hub.release(reading)
        hub.deliver(delta(5, message_id="m2"))
    assert reader.seqs == ([2, 3, 5] if accepted else [2, 3])


@pytest.mark.attack(76)
def test_coming_back_replays_what_was_missed_and_goes_on_live() -> None:
    hub, reader = Hub(), Listening("c2")
    for seq in range(1, 11):
        hub.deliver(delta(seq))
    reading, last, count = hub.read(reader, KEY, 0, 4)
    assert (last, count, reader.events) == (10, 6, [])
    hub.deliver(delta(11))
    hub.release(reading)
    hub.deliver(delta(12))
    assert reader.seqs == list(range(5, 13))


@pytest.mark.attack(76)
def test_a_client_that_asks_for_its_session_and_its_turn_at_once_gets_each_event_once_and_in_order() -> None:
    hub, reader = Hub(), Listening("c2")
    for event in (delta(1, message_id="m0"), done(2, message_id="m0"), delta(4)):
        hub.deliver(event)
    accepted = Accepted(message_id="m1", session=KEY, seq=3, repeated=True)
    sending = hub.hold(reader, KEY)  # the repeated message is being handed in
    hub.deliver(delta(5))
    reading, last, count = hub.read(reader, KEY, 5, 0)
    assert (last, count) == (5, 4)
    hub.deliver(delta(6))
    hub.release(reading)
    hub.follow(sending, accepted, hub.kept_of(KEY, accepted), running=True)
    hub.deliver(done(7))
    assert reader.seqs == [1, 2, 4, 5, 6, 7]


def test_what_is_no_longer_kept_is_1010() -> None:
    hub, reader = Hub(), Listening()
    for seq in range(1, 402):
        hub.deliver(delta(seq))
    with pytest.raises(EventsGone):
        hub.read(reader, KEY, 0, 100)
    assert hub.stats()["readers"] == 0
    assert hub.read(reader, KEY, 0, 101)[2] == 300
    with pytest.raises(EventsGone):
        hub.read(reader, SessionKey("other", "alice"), 37, 12)
    assert hub.read(reader, OTHER, 37, 37)[1:] == (37, 0)


def test_rings_go_after_five_minutes_and_under_pressure() -> None:
    clock = [0.0]
    hub = Hub(lambda: clock[0], keep_bytes=20_000)
    hub.deliver(done(1))
    hub.deliver(done(1, key=OTHER))
    hub.sweep()
    clock[0] = 299
    hub.deliver(delta(2, key=OTHER))
    hub.sweep()
    assert hub.stats()["sessions"] == 2
    clock[0] = 301
    hub.sweep()
    assert hub.stats()["sessions"] == 1
    assert hub.read(Listening(), OTHER, 0, 1)[1:] == (2, 1)
    for number in range(200):
        hub.deliver(done(1, key=SessionKey(f"k{number}", "bob")))
    assert hub.stats()["replay_bytes"] <= 20_000


def test_a_message_is_told_to_all_but_the_connection_that_sent_it() -> None:
    hub, own, other = Hub(), Listening("c1"), Listening("c2")
    for reader in (own, other):
        hub.release(hub.read(reader, KEY, 0, None)[0])
    hub.deliver(said(1, "c1"))
    hub.deliver(ChatStarted(session=KEY, message_id="m1", seq=2, mode="single", model="demo", attempt=1))
    assert (own.seqs, other.seqs) == ([2], [1, 2])
    hub.leave(own, "alice")
    hub.deliver(delta(3))
    assert (own.seqs, other.seqs) == ([2], [1, 2, 3])


@pytest.mark.attack(35)
def test_events_of_a_user_go_to_his_own_connections() -> None:
    hub, alice, bob = Hub(), Listening(), Listening()
    hub.join(alice, "alice")
    hub.join(bob, "bob")
    hub.deliver(BridgeConnected(user="alice", bridge_id="b", name="laptop", tools=3))
    assert (len(alice.events), len(bob.events)) == (1, 0)


async def test_whoever_waits_for_the_end_of_a_turn_is_woken() -> None:
    hub = Hub()
    future = hub.expect("m1")
    hub.deliver(done(9))
    assert (await future).seq == 9
    late = hub.expect("m2")
    hub.give_up("m2", late)
    assert hub.stats()["waiting"] == 0
