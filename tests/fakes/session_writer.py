"""A process of its own that writes sessions, and says on its standard output what it was told.

`python -m tests.fakes.session_writer FOLDER load|hold|limited [BYTES]`. A line is `ack USER SEQ`,
`refused USER SEQ`, `open`, or `in use PID`.
"""

import asyncio
import os
import resource
import sys
from pathlib import Path

from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.lock import FolderInUse
from bus.errors import Overloaded
from tests.fakes.session_records import answered, head_of, key_of, said

USERS = 12


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def talk(store: JsonlStore, user: str, turns: int) -> None:
    """Turn after turn from where the log stands, each of a message and an answer in one batch or two."""
    key = key_of(user)
    state = await store.state(key)
    seq = state.last_seq if state else 0
    for _ in range(turns):
        message = said(seq + 1, f"{user} {seq + 1}", user=user, idempotency_key=f"{user} {seq + 1}", received_at=4e9)
        try:
            await store.append(key, [message], head=head_of(key, owner=user) if seq == 0 else None)
            say(f"ack {user} {seq + 1}")
            await store.append(key, [answered(seq + 2, f"m{seq + 1}", f"{user} {seq + 2}")])
            say(f"ack {user} {seq + 2}")
        except Overloaded:
            say(f"refused {user} {seq + 1}")
            return
        seq += 2


async def main(folder: Path, role: str, limit: int) -> None:
    try:
        async with JsonlStore(folder, checkpoint_bytes=40_000, checkpoint_sessions=50) as store:
            say("open")
            if role == "load":
                await asyncio.gather(*[talk(store, f"user{n}", 1_000_000) for n in range(USERS)])
            elif role == "limited":
                await limited(store, limit)
            else:
                await asyncio.sleep(60)
    except FolderInUse as error:
        say(f"in use {error.pid}")
        sys.exit(1)


async def limited(store: JsonlStore, limit: int) -> None:
    """Until no file may grow beyond `limit` bytes any more, then with the limit gone."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    await asyncio.gather(*[talk(store, f"user{n}", 10_000) for n in range(USERS)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say("space again")
    await asyncio.gather(*[talk(store, f"user{n}", 3) for n in range(USERS)])
    say("end")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int((sys.argv[3:] or ["0"])[0])))
