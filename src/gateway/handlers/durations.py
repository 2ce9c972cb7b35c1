"""`30d`, `24h`, `15m`, `45s` or a plain number of seconds."""

import re

from bus.errors import BadParameters

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"(\d{1,9})([smhdw]?)\Z")
MAX_SECONDS = 100 * 366 * 86_400


def seconds(value: str | int) -> float:
    """How many seconds `value` is. Raises BadParameters."""
    if isinstance(value, int):
        amount = value
    else:
        found = _FORM.match(value.strip().lower())
        if found is None:
            raise BadParameters("a time is written 30d, 24h, 15m or 45s")
        amount = int(found[1]) * _UNITS[found[2] or "s"]
    if not 0 <= amount <= MAX_SECONDS:
        raise BadParameters("that time is out of range")
    return float(amount)
