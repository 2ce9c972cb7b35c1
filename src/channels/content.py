"""What goes out and what comes in, as data: places, texts, files, messages, taps. Below `base.py`; knows no channel."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bus.keys import KeyKind, KeyParts
from channels.ports import Identity, Place

ButtonStyle: TypeAlias = Literal["primary", "default", "danger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where something goes. `chat` is the group's chat, or in private the person's immutable id;
    `thread` the topic or thread in it. A session's key gives the address and the other way round."""

    kind: Literal["direct", "group"]
    chat: str
    thread: str | None = None


def address_of(parts: KeyParts) -> Address:
    """Where the answers of a session go."""
    thread = parts.place.partition(":")[2] or None
    return Address(kind="group" if parts.kind is KeyKind.GROUP else "direct", chat=parts.peer, thread=thread)


@dataclass(frozen=True, slots=True)
class Button:
    """`data` comes back in a `Tap`; at most 64 bytes of ASCII."""

    label: str
    data: str
    style: ButtonStyle = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A message that fits the platform's limit. `markdown` is CommonMark with tables, unless `plain`.

    `activity` is what tools and sub-agents are doing: shown under the text, told apart from it,
    left out where there is no room. `buttons` are rows.
    """

    markdown: str
    plain: bool = False
    activity: str = ""
    buttons: tuple[tuple[Button, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file to be sent as what it is (`image/*` as picture, `audio/*` as sound, others as file)."""

    data: bytes
    mime: str
    name: str
    caption: str = ""


Content: TypeAlias = Text | Media


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHandle:
    """A file on the platform, not yet downloaded. `size` in bytes, if the platform says so.

    `fetch(limit)` downloads; raises TooLarge (bus) once more than `limit` bytes came.
    """

    kind: Literal["image", "voice", "audio", "video", "file"]
    mime: str
    name: str
    size: int | None
    fetch: Callable[[int], Awaitable[bytes]] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """Something a person wrote, as the adapter parsed it.

    `key` is the platform's own id of this message within the account (an edit's differs from its
    original's): the same key is one turn, for ever. `edits` is the key of the message that this one
    replaces. `addressed`: a mention, a reply to us, or a command (in private chats always true).
    `text` is without the mention. `message_id` is what `reply_to` and `react` take. `at` is
    seconds since the epoch.
    """

    key: str
    identity: Identity
    place: Place
    text: str
    message_id: str
    at: float
    thread: str | None = None
    """Topic or thread id; `place.parent` (or `place.chat`) is the chat it is in."""
    media: tuple[MediaHandle, ...] = ()
    addressed: bool = False
    edits: str | None = None
    also: tuple[str, ...] = ()
    """Keys of further platform messages that are part of this one (an album)."""
    quoted: str = ""
    """The text replied to or forwarded: data, given to the model as a quotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """A button was pressed. `data` is the button's; `tell(text)` shows a passing note to this person alone
    (an empty one only ends the platform's waiting sign)."""

    key: str
    identity: Identity
    place: Place
    data: str
    message_id: str
    thread: str | None = None
    tell: Callable[[str], Awaitable[None]] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """A reaction, a join, a poll: passes the gate like a message, then changes nothing."""

    key: str
    identity: Identity
    place: Place
    what: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a platform's webhook call."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
