"""`clock`: the time, anywhere. Time zones by IANA name, or by the name of a city that is in one."""

import asyncio
import difflib
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import cache

from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.events import JsonObject

_OTHER_NAMES = {
    "beijing": "Asia/Shanghai", "北京": "Asia/Shanghai", "上海": "Asia/Shanghai", "中国": "Asia/Shanghai",
    "东京": "Asia/Tokyo", "伦敦": "Europe/London", "纽约": "America/New_York", "香港": "Asia/Hong_Kong",
    "san francisco": "America/Los_Angeles", "delhi": "Asia/Kolkata", "mumbai": "Asia/Kolkata",
}  # fmt: skip


class Clock:
    """The time now, from `now` (aware, or UTC), in the zone asked for or the house's own."""

    spec = ToolSpec(
        name="clock",
        description="The current date and time, by default where the gateway runs.",
        input_schema={
            "type": "object",
            "properties": {
                "zone": {"type": "string", "description": "IANA time zone or a city, e.g. Asia/Shanghai, Berlin, UTC"}
            },
            "additionalProperties": False,
        },
        read_only=True,
        idempotent=True,
    )

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem for a zone that doesn't exist."""
        name = str(call.arguments.get("zone") or "").strip()
        # The list of all zones is read from many small files.
        zone: tzinfo | None = await asyncio.to_thread(find_zone, name) if name else None
        moment = self._now().astimezone(zone)
        return {
            "time": moment.isoformat(timespec="seconds"),
            "weekday": moment.strftime("%A"),
            "zone": str(zone) if zone else moment.tzname() or "local",
            "utc_offset": moment.strftime("%z"),
            "unix": int(moment.timestamp()),
        }


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that name or city. Raises ToolProblem with the nearest names."""
    wanted = _OTHER_NAMES.get(name.lower(), name)
    by_city = _cities()
    key = wanted.lower().replace(" ", "_")
    found = by_city.get(key)
    if found is None:
        near = difflib.get_close_matches(key, by_city, n=3, cutoff=0.6)
        hint = ", ".join(dict.fromkeys(by_city[each] for each in near)) or "Europe/Berlin, Asia/Shanghai, UTC"
        raise ToolProblem(f"There is no time zone “{name[:64]}”. Perhaps: {hint}.")
    return zoneinfo.ZoneInfo(found)


@cache
def _cities() -> dict[str, str]:
    """IANA names in lower case, and their last parts: `asia/tokyo` and `tokyo`."""
    out: dict[str, str] = {}
    for zone in sorted(zoneinfo.available_timezones()):
        out[zone.lower()] = zone
        if "/" in zone and not zone.startswith(("Etc/", "posix/", "right/", "SystemV/")):
            out.setdefault(zone.rsplit("/", 1)[1].lower(), zone)
    return out
