"""The same rhythm, quicker: for tests that look at what is seen in the end and not at how often.

What a channel allows itself by the clock (between two edits, in the long run in a chat, after a failure) is divided
by `PACE`; bursts and limits stay. Tests of the rhythm itself run at its own speed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from channels.base import BaseChannel, Capabilities, Rate
from channels.chat_items import BACKOFF_SECONDS

PACE = 5.0


def quickened(capabilities: Capabilities, pace: float = PACE) -> Capabilities:
    """The capabilities at `pace` times their speed."""
    return replace(
        capabilities,
        edit_seconds=capabilities.edit_seconds / pace,
        group_edit_seconds=capabilities.group_edit_seconds / pace,
        first_seconds=capabilities.first_seconds / pace,
        direct_rate=_quick(capabilities.direct_rate, pace),
        group_rate=_quick(capabilities.group_rate, pace),
    )


def _quick(rate: Rate, pace: float) -> Rate:
    return Rate(rate.burst, rate.per_second * pace)


def quick_channel(make: Callable[[], BaseChannel], pace: float) -> Callable[[], BaseChannel]:
    """What makes the channel, quickened."""

    def made() -> BaseChannel:
        channel = make()
        channel.capabilities = quickened(channel.capabilities, pace)
        return channel

    return made


def quick_failures(patch: Callable[[str, Any], None], pace: float = PACE) -> None:
    """Shorter waits after a failure. `patch` sets an attribute for the time of a test."""
    first, most = BACKOFF_SECONDS
    patch("channels.chat_items.BACKOFF_SECONDS", (first / pace, most))
