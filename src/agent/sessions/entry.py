"""One call of `append` on its way to the disk.

Made on the event loop, committed by the writer thread, settled on the event loop again.
`before` and `after` are what was known of the session around it: `after` goes into the
index with the checkpoint, `before` comes back where the disk refuses.
"""

import asyncio

import orjson

from agent.sessions.index import Used
from agent.sessions.lines import head_line, joined
from agent.sessions.session import tombstone_line
from agent.sessions.summary import Summary
from bus.errors import Overloaded
from bus.keys import SessionKey


class Entry:
    """`durable` is what `append` gives back; None where nobody waits."""

    __slots__ = ("_head", "after", "before", "durable", "generation", "journal_line", "key", "keys", "lines")

    def __init__(
        self, key: SessionKey, *, head: bytes, lines: tuple[bytes, ...], before: Summary | None, after: Summary | None,
        durable: "asyncio.Future[None] | None" = None, keys: tuple[Used, ...] = (), begins: bool = False,
        generation: int = 0,
    ) -> None:  # fmt: skip
        self.key = key
        self._head = head
        self.lines = lines
        self.before = before
        self.after = after
        """None: the session is taken away without a trace (an ephemeral one that is old)."""
        self.keys = keys
        self.generation = generation
        self.journal_line = _journal_line(key, head if begins else b"", lines, forget=after is None)
        self.durable = durable

    @property
    def head(self) -> bytes:
        """The first line of the file, should it be empty."""
        if not self._head and self.after is not None:
            self._head = head_line(self.after.head())
        return self._head

    @property
    def begins(self) -> bool:
        """The first entry of a session, or of a new one under a deleted one's key."""
        return self.after is not None and not self.after.deleted and (self.before is None or self.before.deleted)

    @property
    def ends(self) -> bool:
        """Leaves a tombstone."""
        return self.after is not None and self.after.deleted

    @property
    def goes_on(self) -> bool:
        """Adds to a session that is there, and neither begins nor ends it."""
        return self.after is not None and self.before is not None and not self.after.deleted and not self.before.deleted

    @property
    def content(self) -> bytes:
        """The lines as they are added to the file."""
        return joined(self.lines)

    @property
    def tombstone(self) -> bytes:
        assert self.after is not None
        return self.head + tombstone_line(self.after.record_seq, self.after.updated_at)

    def done(self) -> bool:
        """On the disk, or refused."""
        return self.durable is None or self.durable.done()

    def settle(self, error: Exception | None) -> None:
        """Tell everyone who waits. On the event loop."""
        if self.durable is None or self.durable.done():
            return
        if error is None:
            self.durable.set_result(None)
        else:
            self.durable.set_exception(Overloaded("the disk refuses to store this", retry_after_ms=1000))
            self.durable.exception()  # said in the log already: nobody has to await it


def _journal_line(key: SessionKey, head: bytes, lines: tuple[bytes, ...], *, forget: bool) -> bytes:
    start = b'{"session_key":%b,"scope":%b' % (orjson.dumps(key.text), orjson.dumps(key.scope))
    if forget:
        return start + b',"forget":true}\n'
    if head:
        start += b',"head":' + head.rstrip(b"\n")
    return b"".join((start, b',"records":[', b",".join(lines), b"]}\n"))
