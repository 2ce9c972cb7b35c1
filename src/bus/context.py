"""Ids, times, and the trace id and session that follow a message through every layer."""

import random
import secrets
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The current W3C trace id (32 hex digits), or empty outside a request."""

session_key: ContextVar[str] = ContextVar("session_key", default="")
"""The text of the session that is being served, for log lines; empty outside a turn."""


_random: list[str] = []
_FIVE_BITS = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
"""A random byte as a random character: 256 is a multiple of 32."""


def new_trace_id() -> str:
    """A random W3C trace id, 32 lower-case hex digits."""
    return f"{random.getrandbits(128) or 1:032x}"  # no secret, so no system call


def current_trace_id() -> str:
    """The trace id of this context; makes and keeps one where none was set."""
    found = trace_id.get()
    if not found:
        found = new_trace_id()
        trace_id.set(found)
    return found


def new_id(prefix: str) -> str:
    """An id that sorts by time: `prefix_` + 9 characters of milliseconds + 80 random bits."""
    try:
        rest = _random.pop()
    except IndexError:
        rest = _more_random()
    return f"{prefix}_{_moment(time.time_ns() // 1_000_000)}{rest}"


@lru_cache(maxsize=4)
def _moment(milliseconds: int) -> str:
    """The characters of a moment: many ids are made in the same."""
    return "".join(_ALPHABET[milliseconds >> shift & 31] for shift in range(40, -1, -5))


def _more_random() -> str:
    """16 random characters; one system call for many ids. Any thread may ask."""
    text = secrets.token_bytes(16 * 64).translate(_FIVE_BITS).decode()
    fresh = [text[at : at + 16] for at in range(0, len(text), 16)]
    found = fresh.pop()
    _random.extend(fresh)
    return found


def id_time(identifier: str) -> float | None:
    """When an id of `new_id` was made, in seconds since the epoch, to the millisecond; None for any other text."""
    text = identifier.rpartition("_")[2]
    if len(text) != 25:
        return None
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            return None
        number = number << 5 | digit
    return (number >> 80) / 1000


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with milliseconds, for `seconds` since the epoch (now, if None)."""
    whole, part = divmod(time.time() if seconds is None else seconds, 1)
    micro = round(part * 1_000_000)
    if micro == 1_000_000:
        whole, micro = whole + 1, 0
    return f"{_second(whole)}{micro // 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(whole: float) -> str:
    """The text of a second: most times are of the same few."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def parse_timestamp(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 text. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
