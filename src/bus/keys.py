"""Who and where: user ids and session keys, parsed, formatted and compared.

A session key that a person gives is a text. What it names depends on its form:

* `agent:<agent>:websocket|cli:direct:<user>` belongs to that user;
* `agent:<agent>:<platform>:direct:<peer>` and `...:group:<chat>[:topic:<t>|:thread:<t>]`
  are made by the platform's adapter;
* any other text of 1 to 512 printable characters is private to the person who
  gives it: the same text names another session for another user.

So a `SessionKey` is the text together with its `scope`: the user for a private
text, empty for the others. Two keys are the same session only if both agree;
nothing is case-folded or normalised. Who may use a key is not decided here.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NewType

from bus.errors import BadParameters

UserId = NewType("UserId", str)
ChatId = NewType("ChatId", str)

USER_CHANNELS = frozenset({"websocket", "cli"})
"""Channels whose direct sessions belong to the user named in the key."""

MAX_KEY_CHARS = 512

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")


class KeyKind(Enum):
    """What a key's form says about its owner."""

    PRIVATE = "private"
    USER = "user"
    PEER = "peer"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class SessionKey:
    """The identity of a session: the text people see, and the user it is private to (or '')."""

    text: str
    scope: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def identity(self) -> str:
        """One string, unique over all users: never shown, used for storage and ordering."""
        return f"{self.scope}\x00{self.text}"

    @property
    def of_group(self) -> bool:
        """Whether it is a group's on a platform: several people read what is said there."""
        return not self.scope and ":group:" in self.text

    @classmethod
    def from_identity(cls, identity: str) -> "SessionKey":
        """The inverse of `identity`. Raises ValueError."""
        scope, text = identity.split("\x00", 1)
        return cls(text, scope)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A key of the grammar, taken apart. A private key has kind PRIVATE and empty parts but `agent_id`."""

    kind: KeyKind
    agent_id: str
    channel: str
    peer: str
    place: str = ""
    """`topic:<t>` or `thread:<t>` of a group, else ''."""

    @property
    def text(self) -> str:
        """The canonical text of a key of the grammar."""
        middle = "group" if self.kind is KeyKind.GROUP else "direct"
        tail = f":{self.place}" if self.place else ""
        return f"agent:{self.agent_id}:{self.channel}:{middle}:{self.peer}{tail}"


def user_id(text: str) -> UserId:
    """A checked user id: 1 to 64 of letters, digits and `._@+-`. Raises BadParameters."""
    if not _USER.match(text):
        raise BadParameters("a user name has 1 to 64 letters, digits or . _ @ + -, and starts with a letter or digit")
    return UserId(text)


def default_key(user: str, channel: str = "websocket", agent_id: str = "main") -> SessionKey:
    """The session a user has on a user channel when he names none."""
    return SessionKey(f"agent:{agent_id}:{channel}:direct:{user}")


def direct_key(channel: str, peer: str, agent_id: str = "main") -> SessionKey:
    """A private chat on a platform."""
    return SessionKey(f"agent:{agent_id}:{channel}:direct:{peer}")


def group_key(
    channel: str, chat: str, *, topic: str | None = None, thread: str | None = None, agent_id: str = "main"
) -> SessionKey:
    """A group on a platform, or one topic or thread of it."""
    tail = f":topic:{topic}" if topic else f":thread:{thread}" if thread else ""
    return SessionKey(f"agent:{agent_id}:{channel}:group:{chat}{tail}")


def parse_key(text: str, user: str, platforms: frozenset[str]) -> SessionKey:
    """What session `user` means by `text`; aliases become canonical.

    `platforms` are the channels whose keys only an adapter makes. Raises
    BadParameters for a text that is empty, too long or not printable.
    """
    if not 1 <= len(text) <= MAX_KEY_CHARS or not text.isprintable():
        raise BadParameters(f"a session key has 1 to {MAX_KEY_CHARS} printable characters")
    parts = take_apart(text, platforms)
    if parts.kind is KeyKind.PRIVATE:
        return SessionKey(text, str(user))
    return SessionKey(parts.text)


@lru_cache(maxsize=256)
def take_apart(text: str, platforms: frozenset[str]) -> KeyParts:
    """The parts of a key text; a text outside the grammar is PRIVATE, agent `main`. A turn asks several times."""
    known = USER_CHANNELS | platforms
    words = text.split(":")
    found = _grammar(words, known) or _alias(words, known)
    return found or KeyParts(KeyKind.PRIVATE, "main", "", "")


def _kind_of(channel: str) -> KeyKind:
    return KeyKind.USER if channel in USER_CHANNELS else KeyKind.PEER


def _grammar(words: list[str], known: frozenset[str]) -> KeyParts | None:
    if len(words) < 5 or words[0] != "agent" or words[2] not in known or not all(words):
        return None
    _, agent_id, channel, middle, peer, *rest = words
    if middle == "direct" and not rest:
        return KeyParts(_kind_of(channel), agent_id, channel, peer)
    if middle == "group" and channel not in USER_CHANNELS:
        if not rest:
            return KeyParts(KeyKind.GROUP, agent_id, channel, peer)
        if len(rest) == 2 and rest[0] in ("topic", "thread"):
            return KeyParts(KeyKind.GROUP, agent_id, channel, peer, f"{rest[0]}:{rest[1]}")
    return None


def _alias(words: list[str], known: frozenset[str]) -> KeyParts | None:
    if not all(words):
        return None
    if len(words) == 4 and words[0] == "agent" and words[2] in known and words[3] not in ("direct", "group"):
        return KeyParts(_kind_of(words[2]), words[1], words[2], words[3])
    if len(words) == 2 and words[0] in known:
        return KeyParts(_kind_of(words[0]), "main", words[0], words[1])
    if len(words) == 3 and words[0] in known:
        channel, peer, chat = words
        if chat == peer:
            return KeyParts(_kind_of(channel), "main", channel, peer)
        if channel not in USER_CHANNELS:
            return KeyParts(KeyKind.GROUP, "main", channel, chat)
    return None


def is_channel_name(text: str) -> bool:
    """Whether `text` may name a channel."""
    return bool(_CHANNEL.match(text))
