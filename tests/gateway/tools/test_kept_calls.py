"""What is written down of people's own calls, for arguments and answers of any kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.errors import BadParameters
from gateway.tools.kept_calls import KeptCalls, content_of
from gateway.tools.store import Store
from tests.gateway.edge.harness import running


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptCalls]:
    store = Store(tmp_path / "approvals.db")
    yield KeptCalls(store)
    store.close()


@pytest.mark.parametrize("strange", [2**70, "half a pair \ud83d", float("nan"), {"a": [2**70, "\udc00"]}])
async def test_an_answer_of_a_careless_server_is_kept_like_any_other(kept: KeptCalls, strange: Any) -> None:
    answer = {"content": [], "structured_content": strange, "is_error": False, "duration_ms": 1}
    content = content_of("tool", {})
    await kept.begin("alice", "k", content)
    await kept.done("alice", "k", content, answer)
    found = kept.find("alice", "k")
    assert found is not None and found.state == "done"
    told = found.outcome()
    assert told["content"] == [] and (strange != strange or told == answer)


def test_arguments_that_no_bridge_would_get_as_they_are() -> None:
    with pytest.raises(BadParameters):
        content_of("tool", {"n": 2**70})


async def test_they_are_1000_with_a_key_as_without(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for more in ({}, {"idempotency_key": "k"}):
            asked = {"name": "calculator", "arguments": {"expression": "1", "n": 2**70}} | more
            answer = await gateway.rpc("tools.call", "alice", **asked)
            assert answer["error"]["code"] == 1000, answer
