"""What every store of sessions must do: the same tests over JSONL and, in a later version, Redis.

A subclass gives the fixture `house`: somewhere to keep sessions, that can be opened, and
opened as after `kill -9`. Nothing in here knows of files.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest

from agent.ports.sessions import SessionHead
from bus.errors import BadParameters, Conflict, NotFound
from bus.keys import SessionKey, group_key
from tests.fakes.session_records import (
    NOW,
    answered,
    called,
    calling,
    failed,
    head_of,
    key_of,
    mark,
    said,
    started,
    updated,
)


class House(Protocol):
    """Where a store lives."""

    def open(self) -> AbstractAsyncContextManager[Any]:
        """The store; leaving is a clean stop."""
        ...

    def open_as_killed(self) -> AbstractAsyncContextManager[Any]:
        """A store with what a store that is still open has made durable, as if its process had been killed."""
        ...


class SessionStoreContract:
    """`SessionStore`, and what the gateway's handlers ask of a store besides."""

    @pytest.fixture
    async def store(self, house: House) -> AsyncIterator[Any]:
        async with house.open() as store:
            yield store

    # ------------------------------------------------------------ append, state, read

    async def test_a_session_that_never_was_is_none(self, store: Any) -> None:
        assert await store.state(key_of()) is None
        assert await store.read(key_of()) == []
        assert await store.history(key_of()) == ([], False)

    async def test_records_come_back_as_they_went_in(self, store: Any) -> None:
        key = key_of()
        strange = "你好\u2028\u0085\u202e\u200b" + "e" + "\u0301" * 1000
        records = [said(1, strange), answered(2, "m1", "ok\n\ttab \x00 \x7f")]
        await store.append(key, records, head=head_of(key))
        assert await store.read(key) == records

    async def test_append_returns_at_once_and_is_seen_at_once(self, store: Any) -> None:
        key = key_of()
        durable = store.append(key, [said(1)], head=head_of(key))
        assert isinstance(durable, asyncio.Future)
        state = await store.state(key)
        assert state is not None and state.last_seq == 1 and state.open_turns == ("m1",)
        assert store.state_now(key) == state
        assert [record.seq for record in await store.read(key)] == [1]
        await durable
        assert [record.seq for record in await store.read(key)] == [1]

    async def test_the_state_follows_a_turn(self, store: Any) -> None:
        key = key_of()
        await store.append(key, [said(1)], head=head_of(key, title="First"))
        await store.append(key, [started(2, "m1", 100)])
        await store.append(key, [said(5, message_id="m5")])
        state = await store.state(key)
        assert state.open_turns == ("m1", "m5") and state.last_seq == 100 and not state.crashed
        await store.append(key, [answered(9, "m1")])
        state = await store.state(key)
        assert state.open_turns == ("m5",) and state.last_seq == 9
        assert state.head.title == "First" and state.head.message_count == 3
        assert await store.open_turns() == [key]
        await store.append(key, [failed(10, "m5")])
        assert await store.open_turns() == []

    async def test_context_opens_no_turn(self, store: Any) -> None:
        key = group_key("telegram", "-100")
        await store.append(key, [said(1, wants_reply=False)], head=head_of(key, owner="", channel="telegram"))
        assert (await store.state(key)).open_turns == ()

    async def test_reading_a_range(self, store: Any) -> None:
        key = key_of()
        records = [said(n) if n % 2 else answered(n, f"m{n - 1}") for n in range(1, 21)]
        await store.append(key, records, head=head_of(key))

        async def seqs(**asked: Any) -> list[int]:
            return [record.seq for record in await store.read(key, **asked)]

        assert await seqs(after_seq=18) == [19, 20]
        assert await seqs(before_seq=3) == [1, 2]
        assert await seqs(after_seq=5, before_seq=8) == [6, 7]
        assert await seqs(limit=3) == [1, 2, 3]
        assert await seqs(limit=3, newest=True) == [18, 19, 20]
        assert await seqs(limit=2, newest=True, before_seq=10) == [8, 9]
        assert await seqs(limit=9, newest=True, after_seq=17) == [18, 19, 20]
        assert await seqs(types=frozenset({"chat.done"}), limit=2, newest=True) == [18, 20]
        assert await seqs(after_seq=20) == [] and await seqs(limit=0) == []

    async def test_numbers_must_rise(self, store: Any) -> None:
        key = key_of()
        await store.append(key, [said(4)], head=head_of(key))
        for wrong in ([said(4)], [said(3)], [said(6), said(5)]):
            with pytest.raises(Conflict):
                await store.append(key, wrong)
        await store.append(key, [said(5)])
        assert [record.seq for record in await store.read(key)] == [4, 5]

    async def test_without_a_head_there_is_no_session(self, store: Any) -> None:
        with pytest.raises(NotFound):
            await store.append(key_of(), [said(1)])
        assert await store.state(key_of()) is None

    @pytest.mark.attack(32)
    async def test_a_lone_surrogate_is_refused_and_poisons_nothing(self, store: Any) -> None:
        key = key_of()
        await store.append(key, [said(1)], head=head_of(key))
        with pytest.raises(BadParameters):
            await store.append(key, [said(2, "\ud800")])
        await store.append(key, [answered(2, "m1", "from a model: \ud83d")])
        assert [record.data["text"] for record in await store.read(key)] == ["hello", "from a model: \ufffd"]
        assert len((await store.history(key))[0]) == 2

    @pytest.mark.attack(32)
    async def test_a_lone_surrogate_in_a_title_or_a_question_poisons_nothing(self, house: House) -> None:
        key = key_of()
        async with house.open() as store:
            with pytest.raises(BadParameters):
                await store.append(key, [said(1)], head=head_of(key, title="\udfff"))
            await store.append(key, [said(1)], head=head_of(key))
            await store.append(key, [updated(2, title="a\ud800b", mode={"x": ["\udc00", 2**70]})])
            with pytest.raises(BadParameters):
                await store.duplicate("alice", "\ud800")
            with pytest.raises(BadParameters):
                await store.list_sessions("alice", channel="\ud800", limit=9)
            assert await store.search("alice", "\ud800", 9) == []
        async with house.open() as store:
            assert (await store.state(key)).head.title == "a\ufffdb"
            assert (await store.list_sessions("alice", limit=9))[0][0].title == "a\ufffdb"

    async def test_many_senders_at_once(self, store: Any) -> None:
        async def one(user: str) -> None:
            key = key_of(user)
            for seq in range(1, 6):
                await store.append(key, [said(seq, user)], head=head_of(key, owner=user) if seq == 1 else None)

        users = [f"user{n}" for n in range(40)]
        await asyncio.gather(*[one(user) for user in users])
        for user in users:
            assert [(r.seq, r.data["text"]) for r in await store.read(key_of(user))] == [(n, user) for n in range(1, 6)]

    # ------------------------------------------------------------ stopping, dying

    async def test_a_clean_stop_loses_no_number(self, house: House) -> None:
        key = key_of()
        async with house.open() as store:
            await store.append(key, [said(1), started(2, "m1", 500)], head=head_of(key))
            await store.append(key, [mark(37)])
        async with house.open() as store:
            state = await store.state(key)
            assert state.last_seq == 37 and not state.crashed and state.open_turns == ("m1",)
            assert await store.open_turns() == [key]
            assert [record.seq for record in await store.read(key)] == [1, 2, 37]

    async def test_after_a_crash_numbers_go_on_behind_the_reserved_block(self, house: House) -> None:
        key = key_of()
        async with house.open() as store:
            await store.append(key, [said(1), started(2, "m1", 500)], head=head_of(key))
            async with house.open_as_killed() as after:
                state = await after.state(key)
                assert state.last_seq == 500 and state.crashed and state.open_turns == ("m1",)
                assert await after.open_turns() == [key]
                await after.append(key, [started(501, "m1", 900, attempt=2)])
                state = await after.state(key)
                assert state.last_seq == 900 and not state.crashed
                await after.append(key, [answered(600, "m1")])
                assert (await after.state(key)).last_seq == 600

    async def test_what_was_acknowledged_survives(self, house: House) -> None:
        async with house.open() as store:
            for user in ("alice", "bob"):
                key = key_of(user)
                await store.append(key, [said(1, user=user, idempotency_key="k")], head=head_of(key, owner=user))
                await store.append(key, [answered(2, "m1")])
            async with house.open_as_killed() as after:
                for user in ("alice", "bob"):
                    assert [record.seq for record in await after.read(key_of(user))] == [1, 2]
                    assert (await after.duplicate(user, "k")).session == key_of(user)
                assert len((await after.list_sessions(None, limit=9))[0]) == 2

    # ------------------------------------------------------------ idempotency

    @pytest.mark.attack(36)
    async def test_idempotency_keys_are_a_users_own(self, store: Any) -> None:
        for user in ("alice", "bob"):
            key = key_of(user)
            record = said(1, user, user=user, message_id=f"m-{user}", idempotency_key="same")
            await store.append(key, [record], head=head_of(key, owner=user))
        for user in ("alice", "bob"):
            found = await store.duplicate(user, "same")
            assert (found.message_id, found.session, found.seq) == (f"m-{user}", key_of(user), 1)
            assert found.content_hash == f"hash of {user}"
        assert await store.duplicate("carol", "same") is None

    async def test_a_key_in_flight_waits_for_the_disk(self, store: Any) -> None:
        key = key_of()
        durable = store.append(key, [said(1, idempotency_key="k")], head=head_of(key))
        assert (await store.duplicate("alice", "k")).seq == 1
        assert durable.done()

    async def test_keys_last_a_day(self, house: House) -> None:
        key = key_of()
        async with house.open() as store:
            old = said(1, idempotency_key="old", received_at=NOW - 24 * 3600 - 1)
            new = said(2, idempotency_key="new", received_at=NOW - 23 * 3600)
            await store.append(key, [old, new], head=head_of(key))
            assert await store.duplicate("alice", "old") is None
        async with house.open() as store:
            assert await store.duplicate("alice", "old") is None
            assert (await store.duplicate("alice", "new")).seq == 2

    # ------------------------------------------------------------ listing

    async def test_listing_newest_first_in_pages(self, store: Any) -> None:
        keys = [SessionKey(f"talk {n}", "alice") for n in range(7)]
        for key in keys:
            await store.append(key, [said(1)], head=head_of(key))
        await store.append(keys[2], [said(2)])
        seen: list[SessionKey] = []
        cursor = None
        for _ in range(4):
            heads, cursor = await store.list_sessions("alice", limit=3, cursor=cursor)
            seen += [head.key for head in heads]
            if cursor is None:
                break
        assert seen == [keys[2], *reversed(keys[3:]), keys[1], keys[0]]
        with pytest.raises(BadParameters):
            await store.list_sessions("alice", cursor="' OR 1=1", limit=3)

    @pytest.mark.attack(34)
    async def test_listing_shows_ones_own_only(self, house: House) -> None:
        group = group_key("telegram", "-100")

        async def check(store: Any) -> None:
            assert [h.key for h in (await store.list_sessions("alice", limit=9))[0]] == [key_of("alice")]
            assert [h.key for h in (await store.list_sessions("bob", limit=9))[0]] == [key_of("bob")]
            everyone, _ = await store.list_sessions(None, limit=9)
            assert [h.key for h in everyone] == [group, key_of("bob"), key_of("alice")]
            assert [h.key for h in (await store.list_sessions(None, limit=9, channel="telegram"))[0]] == [group]
            assert await store.owned_by("bob") == [key_of("bob")]

        async with house.open() as store:
            for user in ("alice", "bob"):
                await store.append(key_of(user), [said(1)], head=head_of(key_of(user), owner=user))
            await store.append(group, [said(1)], head=head_of(group, owner="", channel="telegram"))
            ephemeral = SessionKey("e", "alice")
            await store.append(ephemeral, [said(1)], head=head_of(ephemeral, listed=False))
            await check(store)
        async with house.open() as store:
            await check(store)

    async def test_title_owner_and_settings_follow_their_latest_record(self, house: House) -> None:
        key = key_of("telegram-1")
        async with house.open() as store:
            await store.append(key, [said(1)], head=head_of(key, owner="telegram-1", settings={"mode": "fast"}))
            await store.append(key, [updated(2, title="Taxes", mode="multi"), updated(3, owner="alice", language="zh")])
        async with house.open() as store:
            head: SessionHead = (await store.state(key)).head
            assert (head.title, head.owner, head.settings) == ("Taxes", "alice", {"mode": "multi", "language": "zh"})
            assert [h.key for h in (await store.list_sessions("alice", limit=9))[0]] == [key]
            assert (await store.list_sessions("telegram-1", limit=9))[0] == []
            assert await store.owned_by("alice") == [key] and await store.owned_by("telegram-1") == []

    # ------------------------------------------------------------ history

    async def test_history_keeps_rounds_apart(self, store: Any) -> None:
        key = key_of()
        await store.append(
            key,
            [said(1, "what time is it?"), started(2, "m1", 100), calling(5, "m1", ["a", "b"], "Let me look."),
             calling(6, "m1", ["a", "b"], first=False, call=1), called(7, "m1", "a", "noon"),
             called(8, "m1", "b", "dawn"), answered(12, "m1", "Let me look.\n\nNoon.", last_text="Noon.")],
            head=head_of(key),
        )  # fmt: skip
        messages, more = await store.history(key)
        assert not more
        assert [(m["seq"], m["role"], m["text"]) for m in messages] == [
            (1, "user", "what time is it?"), (5, "assistant", "Let me look."), (7, "tool", "noon"), (8, "tool", "dawn"),
            (12, "assistant", "Noon."),
        ]  # fmt: skip
        assert messages[1]["tool_calls"] == [{"call_id": one, "name": "clock", "arguments": "{}"} for one in "ab"]
        assert [m.get("tool_call_id") for m in messages] == [None, None, "a", "b", None]
        assert all(m["message_id"] == "m1" and m["timestamp"] for m in messages)
        assert set(messages[0]) == {"seq", "message_id", "role", "text", "timestamp"}

    async def test_a_call_is_shown_only_with_its_result(self, store: Any) -> None:
        key = key_of()
        await store.append(
            key,
            [said(1), calling(2, "m1", ["a", "b"], "Both."), called(3, "m1", "a"), failed(4, "m1", "Both.\n\nhalf of"),
             said(5), calling(6, "m5", ["c"]), failed(7, "m5")],
            head=head_of(key),
        )  # fmt: skip
        messages, _ = await store.history(key)
        assert [(m["seq"], m["role"], m["text"]) for m in messages] == [
            (1, "user", "hello"), (2, "assistant", "Both."), (3, "tool", "noon"), (4, "assistant", "half of"),
            (5, "user", "hello"),
        ]  # fmt: skip
        assert [call["call_id"] for call in messages[1]["tool_calls"]] == ["a"]
        assert messages[3]["partial"] is True

    async def test_history_in_pages_of_any_size_is_the_same_history(self, store: Any) -> None:
        key = key_of()
        records = []
        for n in range(1, 120, 6):
            turn = f"m{n}"
            records += [said(n), calling(n + 1, turn, ["x", "y"], "hm"), called(n + 2, turn, "x"),
                        called(n + 3, turn, "y"), answered(n + 5, turn, f"answer {n}")]  # fmt: skip
        await store.append(key, records, head=head_of(key))
        whole, more = await store.history(key, limit=1000)
        assert len(whole) == 100 and not more
        for limit in (1, 2, 3, 7, 50):
            pages: list[Any] = []
            before, more = None, True
            while more:
                page, more = await store.history(key, limit=limit, before_seq=before)
                assert 0 < len(page) <= limit
                pages, before = page + pages, page[0]["seq"]
            assert pages == whole

    async def test_a_replaced_message_and_what_followed_is_hidden(self, store: Any) -> None:
        key = key_of()
        await store.append(key, [said(1, "first"), answered(2, "m1", "one"), said(3, "wrong"), answered(4, "m3", "two"),
                                 said(5, "after"), said(6, "right", replaces="m3"), failed(7, "m5", "late"),
                                 answered(8, "m6", "three"), said(9, "odd", replaces="nothing")],
                           head=head_of(key))  # fmt: skip
        shown = ["first", "one", "right", "three", "odd"]
        assert [m["text"] for m in (await store.history(key))[0]] == shown
        pages: list[str] = []
        before, more = None, True
        while more:
            page, more = await store.history(key, limit=1, before_seq=before)
            pages, before = [m["text"] for m in page] + pages, page[0]["seq"]
        assert pages == shown
        assert [hit[1] for hit in await store.search("alice", "wrong", 9)] == []

    async def test_context_is_part_of_the_history(self, store: Any) -> None:
        key = group_key("telegram", "-100")
        await store.append(key, [said(1, "aside", wants_reply=False), said(2, "you?")], head=head_of(key, owner=""))
        assert [(m["role"], m["text"]) for m in (await store.history(key))[0]] == [("user", "aside"), ("user", "you?")]

    # ------------------------------------------------------------ search, export, deleting

    @pytest.mark.attack(34)
    async def test_search_is_ones_own_in_any_case_and_script(self, store: Any) -> None:
        for user in ("alice", "bob"):
            key = key_of(user)
            records = [said(1, f"Die Straße von {user}: 我喜欢北京烤鸭"), answered(2, "m1", "The QUICK fox")]
            await store.append(key, records, head=head_of(key, owner=user))
        assert [(key, seq) for key, seq, _ in await store.search("alice", "北京", 9)] == [(key_of("alice"), 1)]
        assert [(key, seq) for key, seq, _ in await store.search("alice", "quick", 9)] == [(key_of("alice"), 2)]
        assert [seq for _, seq, _ in await store.search("alice", "i", 1)] == [2]
        assert "北京烤鸭" in (await store.search("bob", "烤鸭", 9))[0][2]
        assert await store.search("alice", "bob", 9) == [] and await store.search("alice", "   ", 9) == []
        assert await store.search("alice", ".*", 9) == []

    async def test_export_is_the_whole_log(self, store: Any) -> None:
        key = key_of()
        durable = store.append(key, [said(1, "line\u2028break"), answered(2, "m1")], head=head_of(key))
        for _ in range(2):
            lines = await store.export(key)
            assert len(lines) == 3
            assert '"session_key":"agent:main:websocket:direct:alice"' in lines[0] and "line\u2028break" in lines[1]
            await durable
            await asyncio.sleep(0.02)

    async def test_deleting_leaves_the_owner_and_the_number(self, house: House) -> None:
        key = key_of()
        async with house.open() as store:
            records = [said(1, "the secret plan"), answered(2, "m1"), said(3)]
            await store.append(key, records, head=head_of(key, title="Plan"))
            await store.append(key, [updated(4, deleted=True)])
            state = await store.state(key)
            assert state.head.deleted and state.head.owner == "alice" and state.last_seq == 4
            assert state.open_turns == () and state.head.title == ""
            assert await store.history(key) == ([], False)
            assert await store.search("alice", "secret", 9) == []
            assert (await store.list_sessions("alice", limit=9))[0] == []
            assert not [line for line in await store.export(key) if "secret" in line or "Plan" in line]
        async with house.open() as store:
            state = await store.state(key)
            assert state.head.deleted and state.head.owner == "alice" and state.last_seq == 4
            assert await store.owned_by("alice") == []
            await store.append(key, [said(5, "anew")], head=head_of(key, created_at="2027-01-01T00:00:00.000Z"))
            assert [m["text"] for m in (await store.history(key))[0]] == ["anew"]
        async with house.open() as store:
            state = await store.state(key)
            assert not state.head.deleted and state.last_seq == 5 and state.head.message_count == 1
            assert state.head.created_at == "2027-01-01T00:00:00.000Z"
            assert [record.seq for record in await store.read(key)] == [5]

    async def test_deleting_and_beginning_anew_in_one_breath(self, store: Any) -> None:
        key = key_of()
        store.append(key, [said(1, "old")], head=head_of(key))
        store.append(key, [updated(2, deleted=True)])
        store.append(key, [failed(3, "m1")])
        durable = store.append(key, [said(4, "new")], head=head_of(key))
        for _ in range(2):
            assert [record.seq for record in await store.read(key)] == [4]
            assert (await store.state(key)).last_seq == 4
            await durable
            await asyncio.sleep(0.02)

    async def test_ephemeral_sessions_go_after_a_day(self, house: House) -> None:
        old, young = SessionKey("old", "alice"), SessionKey("young", "alice")
        async with house.open() as store:
            await store.append(old, [said(1), answered(2, "m1")], head=head_of(old, listed=False))
            await store.append(young, [said(4000), answered(4001, "m4000")], head=head_of(young, listed=False))
            await store.append(key_of(), [said(1), answered(2, "m1")], head=head_of(key_of()))
            assert await store.sweep(NOW + 24 * 3600 + 1000) == 1
            assert await store.state(old) is None and await store.read(old) == []
            assert await store.sweep(NOW + 24 * 3600 + 1000) == 0
        async with house.open() as store:
            assert await store.state(old) is None
            assert [r.seq for r in await store.read(young)] == [4000, 4001] and await store.state(key_of()) is not None
            assert await store.sweep(NOW + 48 * 3600) == 1
            assert await store.state(young) is None
