"""Which channels there are, and how one is made. A platform's SDK is imported when its channel is made, not before.

A channel of another package is found by its entry point in the group `busgate.channels`:
its name is the channel's, its value the `BaseChannel` subclass.
"""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from bus.keys import is_channel_name
from channels.base import BaseChannel
from channels.errors import ChannelUnavailable
from channels.inbound import InboundPipeline
from channels.settings import ChannelSettings

GROUP = "busgate.channels"
_BUILT_IN = {
    "telegram": ("channels.telegram.channel", "TelegramChannel"),
    "discord": ("channels.discord.channel", "DiscordChannel"),
    "feishu": ("channels.feishu.channel", "FeishuChannel"),
}

LoadClass = Callable[[], type[BaseChannel]]


@lru_cache(maxsize=1)
def third_party() -> dict[str, LoadClass]:
    """The channels of other packages by name; a name of ours, or an impossible one, is not taken."""
    found: dict[str, LoadClass] = {}
    for point in entry_points(group=GROUP):
        if point.name not in _BUILT_IN and point.name not in ("websocket", "cli") and is_channel_name(point.name):
            found.setdefault(point.name, _loader(point))
    return found


def _loader(point: EntryPoint) -> LoadClass:
    def load() -> type[BaseChannel]:
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, BaseChannel)):
            raise TypeError(f"entry point {point.name} of {GROUP} is no channel")
        return loaded

    return load


def channel_class(name: str) -> type[BaseChannel]:
    """The class of channel `name`, importing its SDK. Raises ChannelUnavailable where that isn't installed."""
    try:
        if name in _BUILT_IN:
            module, attribute = _BUILT_IN[name]
            loaded: type[BaseChannel] = getattr(import_module(module), attribute)
            return loaded
        return third_party()[name]()
    except ImportError as error:
        raise ChannelUnavailable(f"not installed: {error.name or name} (pip install 'busgate[{name}]')") from error


def make_channel(name: str, settings: ChannelSettings, inbound: InboundPipeline) -> BaseChannel:
    """The channel, not yet started."""
    return channel_class(name)(settings, inbound)  # type: ignore[call-arg]  # every channel is made of these two
