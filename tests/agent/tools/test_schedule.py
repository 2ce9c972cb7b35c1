"""Reminders: when they are due, at most once, after restarts too."""

import asyncio
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.ports.tools import ToolResult
from agent.tools.builtin.schedule import ScheduleTool
from agent.tools.builtin.schedule_book import Due, Scheduler, Task
from agent.tools.builtin.schedule_times import check_cron, moment, next_time, zone_named
from agent.tools.registry import ToolProblem
from tests.agent.tools.helpers import ALICE, BOB, text, use

START = datetime(2026, 3, 10, 12, 0, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


class House:
    """A scheduler that runs, and what it handed over."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.scheduler = Scheduler(folder, clock)
        self.tool = ScheduleTool(self.scheduler)
        self.clock = clock
        self.due: list[Due] = []
        self.fails = False

    async def submit(self, due: Due) -> None:
        self.due.append(due)
        if self.fails:
            raise RuntimeError("no room")

    async def __aenter__(self) -> "House":
        self._task = asyncio.create_task(self.scheduler.run(self.submit))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def at(self, seconds: float) -> list[str]:
        """Let it be so many seconds later; what was handed over then."""
        self.clock.time = START + seconds
        before = len(self.due)
        for _ in range(2):  # the first may have been under way already, at the time before
            looks = self.scheduler.looks
            self.scheduler.look()
            async with asyncio.timeout(5):
                while self.scheduler.looks == looks:
                    await asyncio.sleep(0.002)
        return [due.task.text for due in self.due[before:]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def added(result: ToolResult) -> dict[str, str]:
    assert not result.is_error, text(result)
    found: dict[str, str] = result.structured_content["added"]
    return found


async def test_a_reminder_once(tmp_path: Path, clock: Clock) -> None:
    async with House(tmp_path, clock) as house:
        entry = added(await use(house.tool, action="add", text="tea", at="in 10 minutes", zone="UTC"))
        assert entry["next"] == "2026-03-10T12:10:00+00:00"
        assert await house.at(599) == []
        assert await house.at(601) == ["tea"]
        assert await house.at(5000) == []
        due = house.due[0]
        assert due.idempotency_key == f"schedule:{entry['id']}:{int(START + 600)}"
        assert (due.task.user, due.session.text) == ("alice", "agent:main:websocket:direct:alice")
        assert (due.lane.text, due.lane.scope) == (f"schedule:{entry['id']}", "alice")
        assert due.prompt.endswith("due now: do it, or remind them of it.) tea")
        assert (await use(house.tool, action="list")).structured_content["entries"] == []


async def test_regularly_in_the_persons_zone(tmp_path: Path, clock: Clock) -> None:
    async with House(tmp_path, clock) as house:
        entry = added(await use(house.tool, action="add", text="stand-up", cron="30 9 * * 1-5", zone="Europe/Berlin"))
        assert entry["next"] == "2026-03-11T09:30:00+01:00"
        day = 86_400
        assert await house.at(0.9 * day) == ["stand-up"]
        assert await house.at(1.9 * day) == ["stand-up"]
        assert (await use(house.tool, action="list")).structured_content["entries"][0][
            "next"
        ] == "2026-03-13T09:30:00+01:00"
        assert not (await use(house.tool, action="cancel", id=entry["id"])).is_error
        assert await house.at(3 * day) == []


async def test_a_restart_makes_up_once_for_what_was_missed(tmp_path: Path, clock: Clock) -> None:
    house = House(tmp_path, clock)
    added(await use(house.tool, action="add", text="hourly", cron="0 * * * *", zone="UTC"))
    added(await use(house.tool, action="add", text="once", at="in 1 hour"))
    clock.time = START + 5.5 * 3_600
    async with House(tmp_path, clock) as later:
        assert sorted(await later.at(5.5 * 3_600)) == ["hourly", "once"] or sorted(d.task.text for d in later.due) == [
            "hourly",
            "once",
        ]
        assert clock.time - min(due.due for due in later.due) == pytest.approx(4.5 * 3_600)
        assert await later.at(6.1 * 3_600) == ["hourly"]
    async with House(tmp_path, clock) as again:
        assert await again.at(6.2 * 3_600) == []


async def test_at_most_once_though_handing_over_fails(tmp_path: Path, clock: Clock) -> None:
    async with House(tmp_path, clock) as house:
        house.fails = True
        added(await use(house.tool, action="add", text="x", at="in 1 minute"))
        assert await house.at(61) == ["x"]
        assert await house.at(120) == []
    async with House(tmp_path, clock) as again:
        assert await again.at(200) == []


async def test_the_book_is_written_before_handing_over(tmp_path: Path, clock: Clock) -> None:
    house = House(tmp_path, clock)
    added(await use(house.tool, action="add", text="x", at="in 1 minute"))
    clock.time += 61
    seen: list[bytes] = []

    async def look(due: Due) -> None:
        seen.append((tmp_path / "schedule.json").read_bytes())

    task = asyncio.create_task(house.scheduler.run(look))
    async with asyncio.timeout(2):
        while not seen:
            await asyncio.sleep(0.005)
    task.cancel()
    assert b'"x"' not in seen[0]
    assert stat.S_IMODE((tmp_path / "schedule.json").stat().st_mode) == 0o600


async def test_people_see_and_cancel_only_their_own(tmp_path: Path, clock: Clock) -> None:
    house = House(tmp_path, clock)
    entry = added(await use(house.tool, action="add", text="Alice's", at="in 1 hour"))
    assert (await use(house.tool, BOB, action="list")).structured_content["entries"] == []
    assert (await use(house.tool, BOB, action="cancel", id=entry["id"])).is_error
    for number in range(49):
        added(await use(house.tool, action="add", text=str(number), at="in 1 hour"))
    assert "50 entries" in text(await use(house.tool, action="add", text="one more", at="in 1 hour"))
    assert not (await use(house.tool, BOB, action="add", text="mine", at="in 1 hour")).is_error


@pytest.mark.parametrize(
    "arguments",
    [{"text": "x"}, {"at": "in 5 minutes"}, {"text": "x", "at": "yesterday"}, {"text": "x", "at": "2020-01-01T00:00"},
     {"text": "x", "at": "in 99999 weeks"}, {"text": "x", "cron": "* * * *"}, {"text": "x", "cron": "* * * * * *"},
     {"text": "x", "cron": "@daily"}, {"text": "x", "cron": "0 0 30 2 *"}, {"text": "x", "cron": "99 * * * *"},
     {"text": "x", "at": "in 1 hour", "cron": "0 * * * *"}, {"text": "x", "at": "in 1 hour", "zone": "Mars/Base"},
     {"text": " ", "at": "in 1 hour"}],
)  # fmt: skip
async def test_times_that_make_no_sense(tmp_path: Path, clock: Clock, arguments: dict[str, str]) -> None:
    house = House(tmp_path, clock)
    assert (await use(house.tool, action="add", **arguments)).is_error
    assert not (tmp_path / "schedule.json").exists()


def test_moments() -> None:
    assert moment("in 2 hours and 30 minutes", BERLIN, START) == START + 9_000
    assert moment("10分钟后", BERLIN, START) == START + 600
    assert moment("1个小时30分", BERLIN, START) == START + 5_400
    assert moment("90s", BERLIN, START) == START + 90
    assert moment("2026-03-10T14:00", BERLIN, START) == START + 3_600
    assert moment("2026-03-10T14:00+00:00", BERLIN, START) == START + 7_200
    assert moment("2026-03-11", ZoneInfo("UTC"), START) == START + 43_200
    assert zone_named("").key
    assert check_cron(" 0  9 * * 1 ") == "0 9 * * 1"
    with pytest.raises(ToolProblem):
        check_cron("x" * 101)


@pytest.mark.attack(75)
def test_summer_time() -> None:
    """Berlin leaves out 02:30 on 2026-03-29, and has it twice on 2026-10-25."""
    spring = datetime(2026, 3, 28, 12, 0, tzinfo=UTC).timestamp()
    times = [next_time("30 8 * * *", BERLIN, spring)]
    times.append(next_time("30 8 * * *", BERLIN, times[0] or 0))
    assert [datetime.fromtimestamp(each or 0, BERLIN).strftime("%d %H:%M") for each in times] == [
        "29 08:30",
        "30 08:30",
    ]
    autumn = datetime(2026, 10, 24, 22, 0, tzinfo=UTC).timestamp()
    seen = set()
    for _ in range(3):
        found = next_time("30 2 * * *", BERLIN, autumn)
        assert found is not None
        assert found > autumn
        seen.add(datetime.fromtimestamp(found, BERLIN).date())
        autumn = found
    assert len(seen) >= 2


@pytest.mark.parametrize(
    ("cron", "times"),
    [("30 2 * * *", ["25 02:30", "26 02:30"]), ("0,30 2 * * *", ["25 02:00", "25 02:30", "26 02:00"]),
     ("0 * * * *", ["25 02:00", "25 02:00", "25 03:00"])],
)  # fmt: skip
@pytest.mark.attack(75)
async def test_an_hour_that_comes_twice_reminds_once(tmp_path: Path, clock: Clock, cron: str, times: list[str]) -> None:
    """Berlin has 02:00 to 03:00 twice on 2026-10-25; what comes every hour comes in both."""
    clock.time = datetime(2026, 10, 24, 23, 50, tzinfo=UTC).timestamp()
    async with House(tmp_path, clock) as house:
        added(await use(house.tool, action="add", text="wake up", cron=cron, zone="Europe/Berlin"))
        for _ in times:
            (task,) = await house.scheduler.of("alice")
            assert await house.at(task.due + 1 - START) == ["wake up"]
        told = [datetime.fromtimestamp(due.due, BERLIN).strftime("%d %H:%M") for due in house.due]
    assert told == times


class SlowDisk(Scheduler):
    """Writes when it is let go."""

    def __init__(self, folder: Path, now: Clock) -> None:
        super().__init__(folder, now)
        self.writing, self.go_on = threading.Event(), threading.Event()

    def _write(self, tasks: dict[str, Task]) -> None:
        self.writing.set()
        assert self.go_on.wait(10)
        super()._write(tasks)


async def test_who_is_stopped_while_the_book_is_written_leaves_it_as_the_disk_has_it(
    tmp_path: Path, clock: Clock
) -> None:
    scheduler = SlowDisk(tmp_path, clock)
    tool = ScheduleTool(scheduler)
    stopped = asyncio.create_task(use(tool, action="add", text="tea", at="in 10 minutes", zone="UTC"))
    await asyncio.to_thread(scheduler.writing.wait, 10)
    stopped.cancel()
    other = asyncio.create_task(use(tool, action="add", text="soup", at="in 20 minutes", zone="UTC"))
    await asyncio.sleep(0.01)
    scheduler.go_on.set()
    await asyncio.wait([stopped, other])
    assert stopped.cancelled() and not other.result().is_error
    assert [task.text for task in await scheduler.of("alice")] == ["tea", "soup"]
    assert [task.text for task in await Scheduler(tmp_path, clock).of("alice")] == ["tea", "soup"]


@pytest.mark.attack(75)
async def test_a_clock_set_back_repeats_nothing(tmp_path: Path, clock: Clock) -> None:
    async with House(tmp_path, clock) as house:
        added(await use(house.tool, action="add", text="daily", cron="0 13 * * *", zone="UTC"))
        assert await house.at(3_601) == ["daily"]
        assert await house.at(-86_400) == []
        assert await house.at(3_700) == []
        assert await house.at(86_400 + 3_601) == ["daily"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "tasks": [{"due": 1}]}'])
async def test_a_damaged_file_is_put_aside_and_people_plan_anew(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / "schedule.json").write_bytes(content)
    async with House(tmp_path, clock) as house:
        added(await use(house.tool, action="add", text="tea", at="in 10 minutes", zone="UTC"))
        assert await house.at(601) == ["tea"]
    assert (tmp_path / "schedule.json.corrupt").read_bytes() == content


async def test_a_file_of_a_newer_version_is_left_as_it_is(tmp_path: Path, clock: Clock) -> None:
    content = b'{"version": 2, "tasks": [], "more": 1}'
    (tmp_path / "schedule.json").write_bytes(content)
    async with House(tmp_path, clock) as house:
        assert await house.at(10) == []
        with pytest.raises(OSError, match="not 2"):
            await use(house.tool, action="add", text="tea", at="in 10 minutes", zone="UTC")
    assert (tmp_path / "schedule.json").read_bytes() == content


async def test_a_zone_that_this_machine_does_not_know_costs_nobody_his_reminders(tmp_path: Path, clock: Clock) -> None:
    async with House(tmp_path, clock) as house:
        await use(house.tool, action="add", text="stretch", cron="0 * * * *", zone="Berlin")
        await use(house.tool, BOB, action="add", text="tea", at="in 2 hours")
    file = tmp_path / "schedule.json"
    file.write_text(file.read_text().replace("Europe/Berlin", "Mars/Base"))  # brought along from another machine
    async with House(tmp_path, clock) as house:
        assert await house.at(3600) == ["stretch"]
        assert sorted(await house.at(7200)) == ["stretch", "tea"]
        assert "stretch" in text(await use(house.tool, action="list"))


class LongWriting(Scheduler):
    """Each writing of the file takes a while, in the middle of it."""

    def _write(self, tasks: dict[str, Task]) -> None:
        fresh = self._path.with_suffix(".new")
        assert not fresh.exists(), "two write the same file"
        fresh.touch()
        time.sleep(0.1)
        super()._write(tasks)


async def test_who_leaves_while_the_file_is_written_spoils_nothing(tmp_path: Path) -> None:
    scheduler = LongWriting(tmp_path, Clock())
    leaver = asyncio.create_task(scheduler.add(ALICE, None, "tea", due=START + 60))
    await asyncio.sleep(0.05)
    leaver.cancel()
    await scheduler.add(BOB, None, "coffee", due=START + 60)
    await asyncio.wait([leaver])
    for book in (scheduler, Scheduler(tmp_path)):
        assert [len(await book.of(who.user)) for who in (ALICE, BOB)] == [1, 1]
