"""The lanes that exist right now, and the windows kept warm for the sessions that had one lately.

Opening a lane reads the session's state and, where it is not warm, the end of its
log; a lane is let go when nobody needs it. The warm windows are bounded together,
so that a thousand finished sessions cost what a few dozen do.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from agent.lane import Lane, Pending
from agent.ports.sessions import Record, SessionStore
from agent.sessions import records as kinds
from agent.settings import AgentSettings
from agent.window import RELEVANT, Window
from bus.events import Event
from bus.keys import SessionKey

WARM_TOKENS = 200_000
"""All warm windows together, in estimated tokens: some hundred kilobytes."""
WARM_SESSIONS = 256
MAX_PAGES = 32
"""How far back a session is read whose last turns were long, each page being twice a window's messages."""


class Lanes:
    """Key to lane, for one process."""

    def __init__(self, store: SessionStore, publish: Callable[[Event], None], settings: AgentSettings) -> None:
        self._store = store
        self._publish = publish
        self._settings = settings
        self._lanes: dict[SessionKey, Lane] = {}
        self._opening: dict[SessionKey, asyncio.Future[None]] = {}
        self._warm: OrderedDict[SessionKey, Window] = OrderedDict()
        self._warm_tokens = 0

    async def enter(self, key: SessionKey) -> Lane:
        """The lane of `key`, kept until `leave`."""
        while True:
            lane = self._lanes.get(key)
            if lane is not None:
                lane.users += 1
                return lane
            opening = self._opening.get(key)
            if opening is None:
                break
            await asyncio.wait([opening])
        mine = self._opening[key] = asyncio.get_running_loop().create_future()
        try:
            lane = await self._open(key)
            self._lanes[key] = lane
            lane.users += 1
            return lane
        finally:
            del self._opening[key]
            mine.set_result(None)

    async def _open(self, key: SessionKey) -> Lane:
        state = await self._store.state(key)
        window = self._warm.pop(key, None)
        if window is not None:
            self._warm_tokens -= window.size
        else:
            window = await self._load(key) if state is not None else self._empty(key)
        return Lane(key, state, window, self._store, self._publish, self.let_go)

    def _empty(self, key: SessionKey) -> Window:
        return Window(self._settings.window_messages, self._settings.window_tokens, group=key.of_group)

    async def _load(self, key: SessionKey, since: int | None = None) -> Window:
        """The end of the log; with `since`, all from there on, and as much before it as a window holds."""
        window = self._empty(key)
        window.apply_all(await self._latest(key, None if since is None else since + 1))
        if since is not None:
            window.apply_all(await self._store.read(key, after_seq=since, types=RELEVANT))
        return window

    async def _latest(self, key: SessionKey, before: int | None) -> Sequence[Record]:
        """As many records as a window holds. What sub-agents did is not in it, and a long turn is not cut in two."""
        limit = self._settings.window_messages * 2
        found: list[Record] = []
        for _ in range(MAX_PAGES):
            page = await self._store.read(key, before_seq=before, limit=limit, types=RELEVANT, newest=True)
            found[:0] = (one for one in page if not one.data.get("agent"))
            if len(page) < limit or (len(found) >= limit and any(one.type == kinds.MESSAGE for one in found)):
                break
            before = page[0].seq
        return found

    async def reload(self, lane: Lane, *waiting: Pending) -> None:
        """Read the window again so that it holds every message that waits for its turn."""
        known, fresh = -1, lane.window
        lane.spoiled = False  # what the disk refuses from here on spoils it again
        try:
            while lane.window.covered != known:  # what came while it was read is not in what was read
                known = lane.window.covered
                first = min((pending.seq for pending in (*waiting, *lane.queue)), default=None)
                fresh = await self._load(lane.key, first)
        except BaseException:  # cancelled, too: what was not read is still missing
            lane.spoiled = True
            raise
        lane.window = fresh

    def leave(self, lane: Lane) -> None:
        """The counterpart of `enter`."""
        lane.users -= 1
        self.let_go(lane)

    def let_go(self, lane: Lane) -> None:
        """Forget the lane where it has no work; its window stays warm for a while."""
        if not lane.idle or self._lanes.get(lane.key) is not lane:
            return
        del self._lanes[lane.key]
        if lane.spoiled or not lane.exists or not lane.listed:
            return
        self._warm[lane.key] = lane.window
        self._warm_tokens += lane.window.size
        while self._warm and (self._warm_tokens > WARM_TOKENS or len(self._warm) > WARM_SESSIONS):
            _, gone = self._warm.popitem(last=False)
            self._warm_tokens -= gone.size

    def get(self, key: SessionKey) -> Lane | None:
        """The lane, where the session has work."""
        return self._lanes.get(key)

    def working(self) -> list[Lane]:
        """All lanes there are."""
        return list(self._lanes.values())
