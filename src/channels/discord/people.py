"""The private channel with each person, as far as known. Pure.

Anybody may write to the bot, so the oldest are forgotten: an answer to them asks Discord, which opens the same again.
"""

from collections import OrderedDict

MOST = 20_000


class PrivateChannels:
    """By the person's id."""

    def __init__(self) -> None:
        self._channels: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._channels)

    def of(self, person: str) -> str | None:
        """The channel, if it is known."""
        return self._channels.get(person)

    def met(self, person: str, channel: str) -> None:
        """This is the channel with `person`."""
        self._channels[person] = channel
        self._channels.move_to_end(person)
        if len(self._channels) > MOST:
            self._channels.popitem(last=False)
