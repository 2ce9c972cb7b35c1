"""When a reminder is due. Pure: reads what a person or model wrote, and counts on from a moment.

Below `schedule_book.py`. Times of a cron expression are wall-clock times of its zone, summer time included
(croniter with zoneinfo).
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from agent.tools.builtin.clock import find_zone
from agent.tools.registry import ToolProblem

MAX_AHEAD = timedelta(days=5 * 366)
_SPAN = re.compile(
    r"(\d{1,7})\s*(?:(seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)\b|(秒|分|个?小时|天|周|星期)钟?)"
)
_SECONDS = {
    "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "秒": 1, "分": 60, "个": 3_600, "小": 3_600, "天": 86_400,
    "周": 604_800, "星": 604_800,
}  # fmt: skip


def moment(text: str, zone: ZoneInfo, now: float) -> float:
    """Seconds since the epoch of `2030-01-31T09:00` (in `zone` where it names none) or `in 10 minutes`.

    Raises ToolProblem for the past, the far future and what is neither.
    """
    stripped = text.strip().lower().removeprefix("in ").strip()
    spans = _SPAN.findall(stripped)
    if spans and not _SPAN.sub("", stripped).replace("and", "").strip(" ,，后"):
        due = now + sum(int(count) * _SECONDS[(english or chinese)[0]] for count, english, chinese in spans)
    else:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ToolProblem(
                f"“{text[:60]}” is no time: write 2030-01-31T09:00, with an offset if need be, or “in 10 minutes”."
            ) from None
        due = (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    if due < now - 1:
        raise ToolProblem("That time has passed already.")
    if due > now + MAX_AHEAD.total_seconds():
        raise ToolProblem("That is more than five years away.")
    return due


def check_cron(expression: str) -> str:
    """The five fields with single spaces. Raises ToolProblem."""
    from croniter import croniter

    fields = expression.split()
    if len(fields) != 5 or len(expression) > 100 or not croniter.is_valid(expression):
        raise ToolProblem(
            "A cron expression has five fields: minute, hour, day of month, month, day of week, "
            "e.g. “0 9 * * 1-5” for weekdays at nine."
        )
    return " ".join(fields)


def next_time(expression: str, zone: ZoneInfo, after: float) -> float | None:
    """The first time of a cron expression after `after`; None where it never comes (30 February)."""
    from croniter import croniter
    from croniter.croniter import CroniterError

    start = datetime.fromtimestamp(after, UTC).astimezone(zone)
    try:
        found: datetime = croniter(expression, start, max_years_between_matches=8).get_next(datetime)
    except CroniterError:
        return None
    return found.timestamp()


def following_time(expression: str, zone: ZoneInfo, after: float) -> float | None:
    """The next time of a task that has had one: an hour that comes twice when summer time ends counts once.

    As cron does it: expressions for every hour or minute go on by the real time.
    """
    found = next_time(expression, zone, after)
    if "*" not in "".join(expression.split()[:2]):
        while found is not None and datetime.fromtimestamp(found, zone).fold:  # the clock has shown this time before
            found = next_time(expression, zone, found)
    return found


def zone_named(name: str) -> ZoneInfo:
    """The zone of that name, '' being the house's own. Raises ToolProblem."""
    if name:
        return find_zone(name)
    local = datetime.now(UTC).astimezone().tzinfo
    key = getattr(local, "key", None)
    return ZoneInfo(key) if key else _local_zone()


def zone_kept(name: str) -> ZoneInfo:
    """The zone that was kept under that name; the house's own where this machine doesn't know it (any more)."""
    try:
        return zone_named(name)
    except ToolProblem:
        return zone_named("")


def _local_zone() -> ZoneInfo:
    """The system's zone by its name, where it can be told; UTC else."""
    import os
    from pathlib import Path

    name = os.environ.get("TZ", "").lstrip(":")
    if not name:
        try:
            name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
        except OSError:
            name = ""
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return ZoneInfo("UTC")
    except KeyError:
        return ZoneInfo("UTC")


def shown(seconds: float, zone: ZoneInfo) -> str:
    """A moment as ISO 8601 in its zone."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).isoformat(timespec="seconds")
