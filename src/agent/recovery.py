"""What was accepted and not answered, read from the log when a session is taken up again."""

import asyncio
import time

from agent.acceptance import from_record
from agent.lane import Pending
from agent.ports.sessions import SessionStore
from agent.resume import progress_of
from agent.sessions import records as kinds
from bus.keys import SessionKey

READ_AT_ONCE = 2000


async def pending_turns(store: SessionStore, key: SessionKey) -> list[Pending]:
    """The open turns of `key` in order, each with how far it got."""
    state = await store.state(key)
    if state is None or not state.open_turns:
        return []
    wanted = set(state.open_turns)
    records = await store.read(key, limit=READ_AT_ONCE, newest=True)
    while records and not wanted <= {r.data.get("message_id") for r in records if r.type == kinds.MESSAGE}:
        older = await store.read(key, before_seq=records[0].seq, limit=READ_AT_ONCE, newest=True)
        if not older:
            break
        records = older + records
    now = time.time()
    accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    accepted.set_result(None)
    return [
        Pending(from_record(key, record), record.seq, accepted, progress_of(record.data["message_id"], records, now))
        for record in records
        if record.type == kinds.MESSAGE and record.data.get("message_id") in wanted
    ]
