"""One message on its way in: its keys, its place, and its text as the agent gets it. Pure.

`inbound.py` leads it through the gate to the bus.
"""

import hashlib
import time

from bus.commands import is_slash
from bus.errors import GatewayError, Overloaded, RateLimited
from bus.events import InboundMessage
from bus.keys import take_apart
from channels.base import BaseChannel, Incoming, address_of
from channels.items import Turn
from channels.ledger import Seen
from channels.text import clean
from channels.wording import refusal, say

EDIT_SECONDS = 86_400.0
_NAME_CHARS = 64
_QUOTED_CHARS = 2000


class Job:
    """One message on its way through the pipeline."""

    def __init__(self, channel: BaseChannel, incoming: Incoming) -> None:
        self.channel = channel
        self.incoming = incoming
        self.key = self.scoped(incoming.key)
        self.digest = digest_of(incoming)
        self.session = channel.session_of(incoming)
        self.to = address_of(take_apart(self.session.text, frozenset({channel.name})))

    def scoped(self, key: str) -> str:
        """A platform's key made unique over all channels and accounts."""
        return f"{self.incoming.identity.channel}:{self.incoming.identity.account}:{key}"

    @property
    def keys(self) -> list[str]:
        """All keys that this message stands for; an edit takes the place of its original."""
        others = (*self.incoming.also, *([self.incoming.edits] if self.incoming.edits else []))
        return [self.key, *(self.scoped(key) for key in others)]

    def turn(self, message: InboundMessage) -> Turn:
        """What the way out needs to know of it."""
        return Turn(
            message_id=message.message_id,
            session=message.session.text,
            address=self.to,
            reply_to=self.incoming.message_id,
            requester=str(self.incoming.identity),
            user=message.actor.user,
            language=message.actor.language,
            acknowledge=self.channel.capabilities.reactions,
            trace_id=message.trace_id,
        )


def says_nothing_new(incoming: Incoming, before: Seen | None, digest: str) -> bool:
    """An edit that changed nothing we read, or of a message too old to be asked again."""
    return before.digest == digest if before is not None else time.time() - incoming.at > EDIT_SECONDS


def digest_of(incoming: Incoming) -> str:
    """Tells whether an edit changed what we read."""
    names = "\x00".join(f"{h.kind}:{h.name}:{h.size}" for h in incoming.media)
    return hashlib.sha256(f"{incoming.text}\x00{names}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def quoting(text: str, quoted: str) -> str:
    """`text` after what it answers to or passes on, as a quotation; a command stays alone."""
    if not quoted or is_slash(text):
        return text
    lines = "\n".join(f"> {line}" for line in quoted[:_QUOTED_CHARS].split("\n"))
    return f"{lines}\n\n{text}" if text else lines


def spoken_name(name: str) -> str:
    """A display name as one harmless line."""
    return " ".join("".join(c for c in clean(name) if c.isprintable()).replace(":", " ").split())[:_NAME_CHARS]


def sorry(error: GatewayError, language: str) -> str:
    """What a sender whose message was refused is told."""
    if isinstance(error, RateLimited):
        return say("too_fast", language, seconds=max(1, round((error.retry_after_ms or 1000) / 1000)))
    if isinstance(error, Overloaded):
        return say("busy", language)
    return say("refused", language, message=refusal(error, language))
