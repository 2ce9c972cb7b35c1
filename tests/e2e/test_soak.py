"""A minute of the soak: what it promises holds, and the soak itself works."""

import pytest
from bench.soak import soak


@pytest.mark.slow
@pytest.mark.attack(96)
@pytest.mark.timeout(300)
async def test_a_minute_of_faults_breaks_no_promise() -> None:
    tally = await soak(minutes=1, users=8, pause=3, seed=11)
    assert not tally.broken
    assert tally.acknowledged > 50 and tally.answered == tally.acknowledged - sum(
        count for code, count in tally.failed.items() if code != 1007
    )
    assert sum(tally.faults.values()) > 5
