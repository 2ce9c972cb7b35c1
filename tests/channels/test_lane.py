"""One chat's way out, by itself: when it may be forgotten."""

import asyncio
import time
from pathlib import Path

from channels.base import Address
from channels.bucket import Bucket
from channels.database import Database
from channels.delivery import ChatDelivery
from channels.errors import RateLimited
from channels.items import Send
from channels.lane import Lane
from channels.ledger import Ledger
from channels.outbox import Outbox
from channels.telegram.channel import CAPABILITIES
from channels.text import take_piece


async def test_what_the_platform_holds_up_is_not_forgotten_with_its_chat(tmp_path: Path) -> None:
    """The service broke and begins again: no task of the chat lives, and its message may leave in twenty minutes."""
    database = Database(tmp_path / "channels.db")
    chat = ChatDelivery(CAPABILITIES, lambda text: take_piece(text, 4096, len), group=False, now=time.monotonic())
    lane = Lane(
        "telegram", "direct:42", chat, link=lambda: None, outbox=Outbox(database), ledger=Ledger(database),
        read_media=lambda ref, owner: asyncio.sleep(0, b""), total=Bucket(CAPABILITIES.total_rate, time.monotonic()),
        spawn=asyncio.get_running_loop().create_task,
    )  # fmt: skip
    assert lane.idle
    chat.notice(Address(kind="direct", chat="42"), "hello")
    call = chat.next(time.monotonic())
    assert isinstance(call, Send)
    chat.outcome(call, time.monotonic(), error=RateLimited(1200))
    await lane._keep()
    assert not lane.busy  # nobody waits for it at the end
    assert not lane.idle
    await database.close()
