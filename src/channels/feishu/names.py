"""What people are called in Feishu: events carry ids only. For people to read, never to decide by.

Asked once a person, kept for a day. Where the app may not ask (permission
`contact:user.base:readonly`), or Feishu does not answer soon, the id stands for the name.
"""

import asyncio
import time
from collections import OrderedDict

from channels.errors import ChannelError
from channels.feishu.api import FeishuApi

_KEPT = 10_000
_DAY = 86_400.0
_PAUSE_SECONDS = 3600.0
_PATIENCE_SECONDS = 2.0


class Names:
    """The names by open_id."""

    def __init__(self, api: FeishuApi) -> None:
        self._api = api
        self._names: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._not_before = 0.0

    async def of(self, open_id: str) -> str:
        """The name, or '' where it is not known. Raises nothing."""
        now = time.monotonic()
        known = self._names.get(open_id)
        if known is not None and known[1] > now:
            return known[0]
        if not open_id or now < self._not_before:
            return ""
        name = await self._ask(open_id)
        if name is None:
            self._not_before = now + _PAUSE_SECONDS
            return ""
        self._names[open_id] = (name, now + _DAY)
        if len(self._names) > _KEPT:
            self._names.popitem(last=False)
        return name

    async def _ask(self, open_id: str) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                data = await self._api.call("GET", f"/contact/v3/users/{open_id}", None, {"user_id_type": "open_id"})
        except (ChannelError, TimeoutError):
            return None
        return str((data.get("user") or {}).get("name") or "")
