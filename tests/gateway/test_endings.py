"""How a turn ended, for whoever asks later: what the log says, and no earlier than the disk does."""

import asyncio
from pathlib import Path

import pytest

from agent.sessions.jsonl_store import JsonlStore
from bus.errors import NotFound, Overloaded
from bus.events import Accepted, ChatDone
from gateway.handlers.endings import Endings
from tests.fakes.disks import RefusingDisk, WaitingDisk
from tests.fakes.session_records import answered, head_of, key_of, said, updated

KEY = key_of()
ACCEPTED = Accepted(message_id="m1", session=KEY, seq=1)


class SlowToRefuse(WaitingDisk, RefusingDisk):
    """Waits before it refuses."""

    def __init__(self) -> None:
        RefusingDisk.__init__(self)
        WaitingDisk.__init__(self)


@pytest.mark.attack(71)
@pytest.mark.parametrize("refuses", [False, True])
async def test_an_end_is_told_to_who_asks_once_the_disk_has_it(tmp_path: Path, refuses: bool) -> None:
    disk = SlowToRefuse()
    async with JsonlStore(tmp_path / "sessions", disk=disk) as store:
        endings = Endings(store)
        await store.append(KEY, [said(1)], head=head_of(KEY))
        assert await endings.find(ACCEPTED) is None
        disk.open.clear()
        disk.refuses = {"write"} if refuses else set()
        durable = store.append(KEY, [answered(2, "m1")])
        finding = asyncio.ensure_future(endings.find(ACCEPTED))
        await asyncio.sleep(0)  # it has begun to look
        disk.open.set()
        assert await finding is None
        if refuses:
            with pytest.raises(Overloaded):
                await durable
            assert await endings.find(ACCEPTED) is None
            disk.refuses = set()
        else:
            await durable
            found = await endings.find(ACCEPTED)
            assert isinstance(found, ChatDone) and found.seq == 2
            store.append(KEY, [said(3)])  # what is on its way behind it does not matter
            assert await endings.find(ACCEPTED) == found


async def test_a_message_that_went_with_its_session_has_no_end(tmp_path: Path) -> None:
    async with JsonlStore(tmp_path / "sessions") as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        await store.append(KEY, [updated(2, deleted=True)])
        with pytest.raises(NotFound):
            await Endings(store).find(ACCEPTED)
