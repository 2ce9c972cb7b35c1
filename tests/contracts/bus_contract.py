"""What every message bus does: one suite, run unchanged over each implementation.

Subclass `BusContract` in a test module and give it a `bus` fixture: a bus whose
`run()` is running, in an event loop of its own test.
"""

import asyncio
import time
from typing import Any

import pytest

from bus.context import new_id
from bus.errors import BadParameters, Conflict, Overloaded, TimedOut, Unreachable
from bus.events import Accepted, Actor, ChatDelta, ChatDone, Event, InboundMessage, Usage
from bus.keys import SessionKey
from bus.message_bus import MessageBus, Overflow

KEY = SessionKey("talk", "alice")


def message(text: str, key: SessionKey = KEY) -> InboundMessage:
    return InboundMessage(
        session=key, actor=Actor(user="alice"), text=text, message_id=new_id("msg"), received_at=time.time()
    )


def delta(seq: int, text: str = "x", message_id: str = "m") -> ChatDelta:
    return ChatDelta(KEY, message_id, seq, text)


def done(seq: int) -> ChatDone:
    return ChatDone(session=KEY, message_id="m", seq=seq, text="", finish_reason="stop", usage=Usage())


def everything(event: Event) -> bool:
    return True


async def collect(subscription: Any, count: int) -> list[Event]:
    out: list[Event] = []
    async with asyncio.timeout(5):
        async for event in subscription:
            out.append(event)
            if len(out) == count:
                break
    return out


class BusContract:
    """The promises of `bus.message_bus`."""

    # ------------------------------------------------------------ inbound

    async def test_submit_resolves_with_the_acceptors_answer(self, bus: MessageBus) -> None:
        async def accept(item: InboundMessage) -> Accepted:
            return Accepted(message_id=item.message_id, session=item.session, seq=7)

        bus.accept_with(accept)
        item = message("hello")
        assert await bus.submit(item) == Accepted(message_id=item.message_id, session=KEY, seq=7)

    async def test_a_message_arrives_as_it_was_sent(self, bus: MessageBus) -> None:
        seen: list[InboundMessage] = []

        async def accept(item: InboundMessage) -> Accepted:
            seen.append(item)
            return Accepted(message_id=item.message_id, session=item.session, seq=1)

        bus.accept_with(accept)
        item = message("héllo 你好 🙂\u2028")
        await bus.submit(item)
        assert seen == [item]

    async def test_messages_of_a_session_keep_their_order(self, bus: MessageBus) -> None:
        seen: list[str] = []

        async def accept(item: InboundMessage) -> Accepted:
            seen.append(item.text)
            return Accepted(message_id=item.message_id, session=item.session, seq=len(seen))

        bus.accept_with(accept)
        await asyncio.gather(*(bus.submit(message(str(n))) for n in range(100)))
        assert seen == [str(n) for n in range(100)]

    async def test_the_acceptors_error_reaches_the_sender(self, bus: MessageBus) -> None:
        async def accept(item: InboundMessage) -> Accepted:
            raise BadParameters("no")

        bus.accept_with(accept)
        with pytest.raises(BadParameters):
            await bus.submit(message("hello"))

    async def test_without_an_acceptor_the_sender_may_try_again(self, bus: MessageBus) -> None:
        with pytest.raises(Overloaded) as refused:
            await bus.submit(message("hello"))
        assert refused.value.retry_after_ms

    async def test_there_is_one_acceptor(self, bus: MessageBus) -> None:
        async def accept(item: InboundMessage) -> Accepted:
            return Accepted(message_id=item.message_id, session=item.session, seq=1)

        leave = bus.accept_with(accept)
        with pytest.raises(Conflict):
            bus.accept_with(accept)
        leave()
        bus.accept_with(accept)

    async def test_too_many_waiting_is_said_with_a_time(self, bus: MessageBus) -> None:
        gate = asyncio.Event()

        async def accept(item: InboundMessage) -> Accepted:
            await gate.wait()
            return Accepted(message_id=item.message_id, session=item.session, seq=1)

        bus.accept_with(accept)
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(bus.submit(message(str(n)))) for n in range(self.capacity)]
            await asyncio.sleep(0.05)
            with pytest.raises(Overloaded) as refused:
                await bus.submit(message("one too many"))
            assert refused.value.code == 1007 and refused.value.retry_after_ms
            gate.set()
        assert all(task.result().seq == 1 for task in waiting)

    capacity = 8
    """How many messages the bus under test lets wait."""

    # ------------------------------------------------------------ events

    async def test_everyone_gets_every_event_in_order(self, bus: MessageBus) -> None:
        first = bus.subscribe("first", everything, Overflow.CLOSE)
        second = bus.subscribe("second", everything, Overflow.CLOSE)
        for seq in range(50):
            bus.publish(delta(seq))
        want = [delta(seq) for seq in range(50)]
        assert await collect(first, 50) == want
        assert await collect(second, 50) == want

    async def test_an_attached_sink_sees_events_until_it_leaves(self, bus: MessageBus) -> None:
        seen: list[Event] = []
        leave = bus.attach(seen.append)
        bus.publish(delta(1))
        await asyncio.sleep(0.02)
        leave()
        bus.publish(delta(2))
        await asyncio.sleep(0.02)
        assert seen == [delta(1)]

    async def test_a_sink_may_do_without_deltas(self, bus: MessageBus) -> None:
        seen: list[Event] = []
        leave = bus.attach(seen.append, deltas=False)
        bus.publish(delta(1))
        bus.publish(done(2))
        await asyncio.sleep(0.02)
        leave()
        bus.publish(done(3))
        await asyncio.sleep(0.02)
        assert seen == [done(2)]

    async def test_a_selector_chooses(self, bus: MessageBus) -> None:
        ends = bus.subscribe("ends", lambda event: isinstance(event, ChatDone), Overflow.CLOSE)
        for seq in range(5):
            bus.publish(delta(seq))
        bus.publish(done(5))
        assert await collect(ends, 1) == [done(5)]

    async def test_a_slow_subscriber_closes_only_itself(self, bus: MessageBus) -> None:
        slow = bus.subscribe("slow", everything, Overflow.CLOSE, capacity=3)
        quick = bus.subscribe("quick", everything, Overflow.CLOSE, capacity=100)
        for seq in range(10):
            bus.publish(done(seq))
        assert len(await collect(quick, 10)) == 10
        with pytest.raises(Overloaded):
            await collect(slow, 10)

    async def test_the_oldest_go_where_the_subscriber_said_so(self, bus: MessageBus) -> None:
        late = bus.subscribe("late", everything, Overflow.DROP_OLDEST, capacity=3)
        for seq in range(10):
            bus.publish(done(seq))
        await asyncio.sleep(0.05)
        assert [event.seq for event in await collect(late, 3)] == [7, 8, 9]
        assert late.dropped == 7

    async def test_deltas_merge_where_the_subscriber_said_so(self, bus: MessageBus) -> None:
        merging = bus.subscribe("merging", everything, Overflow.MERGE_DELTAS, capacity=4)
        for seq in range(1, 101):
            bus.publish(delta(seq, f"{seq} "))
        bus.publish(done(101))
        await asyncio.sleep(0.05)
        got: list[Any] = []
        async with asyncio.timeout(5):
            async for event in merging:
                got.append(event)
                if isinstance(event, ChatDone):
                    break
        assert "".join(e.delta for e in got[:-1]) == "".join(f"{n} " for n in range(1, 101))
        expected = 1
        for event in got[:-1]:
            assert (event.from_seq or event.seq) == expected
            expected = event.seq + 1

    async def test_a_closed_subscription_ends(self, bus: MessageBus) -> None:
        subscription = bus.subscribe("short", everything, Overflow.CLOSE)
        bus.publish(delta(1))
        await asyncio.sleep(0.02)
        subscription.close()
        assert [event async for event in subscription] == [delta(1)]

    # ------------------------------------------------------------ requests

    async def test_a_question_is_answered(self, bus: MessageBus) -> None:
        async def double(payload: Any) -> Any:
            return payload * 2

        bus.serve("double", double)
        assert await bus.request("double", 21, seconds=1) == 42

    async def test_nobody_there(self, bus: MessageBus) -> None:
        with pytest.raises(Unreachable):
            await bus.request("nobody", 1, seconds=1)

    async def test_no_answer_in_time(self, bus: MessageBus) -> None:
        async def never(payload: Any) -> Any:
            await asyncio.Event().wait()

        bus.serve("never", never)
        with pytest.raises(TimedOut):
            await bus.request("never", 1, seconds=0.05)

    async def test_an_error_comes_back_as_itself(self, bus: MessageBus) -> None:
        async def refuse(payload: Any) -> Any:
            raise Conflict("not now")

        bus.serve("refuse", refuse)
        with pytest.raises(Conflict, match="not now"):
            await bus.request("refuse", 1, seconds=1)

    async def test_one_server_a_subject(self, bus: MessageBus) -> None:
        async def serve(payload: Any) -> Any:
            return payload

        leave = bus.serve("one", serve)
        with pytest.raises(Conflict):
            bus.serve("one", serve)
        leave()
        bus.serve("one", serve)
