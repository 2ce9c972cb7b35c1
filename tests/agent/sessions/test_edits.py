"""What edits hide, however many there are and whatever they take the place of."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.sessions.jsonl_store import JsonlStore
from tests.fakes.session_records import head_of, key_of, said

KEY = key_of()


async def shown(folder: Path, edits: list[int | None]) -> tuple[list[int], int]:
    """The numbers of the messages that history shows, and how many stretches were looked for."""
    async with JsonlStore(folder) as store:
        for seq, replaced in enumerate(edits, 1):
            more = {} if replaced is None else {"replaces": f"m{replaced}"}
            store.append(KEY, [said(seq, **more)], head=head_of(KEY) if seq == 1 else None)
        await store.checkpoint()
        messages, _ = await store.history(KEY, limit=10_000)
        return [message["seq"] for message in messages], len(store._cuts)


def by_definition(edits: list[int | None]) -> list[int]:
    hidden: set[int] = set()
    for seq, replaced in enumerate(edits, 1):
        if replaced is not None and 0 < replaced < seq:
            hidden |= set(range(replaced, seq))
    return [seq for seq in range(1, len(edits) + 1) if seq not in hidden]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(1, 14)), min_size=1, max_size=14))
async def test_a_message_is_hidden_if_one_edit_hides_it(
    tmp_path_factory: pytest.TempPathFactory, edits: list[int | None]
) -> None:
    assert (await shown(tmp_path_factory.mktemp("edits") / "s", edits))[0] == by_definition(edits)


async def test_who_edits_the_same_message_again_and_again_has_his_log_read_once(tmp_path: Path) -> None:
    edits: list[int | None] = [None] + [1] * 600
    assert await shown(tmp_path / "s", edits) == ([601], 1)
