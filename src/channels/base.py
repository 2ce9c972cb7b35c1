"""What every channel is: its capabilities as data, and the class. `content.py` says what goes out and comes in.

An adapter is a docstring with the platform's limits, pure `parse_*` (platform's
JSON to `Incoming`, `Tap`, `Reaction`), pure `render_*` (`Text` to the platform's
JSON), then a subclass of `BaseChannel` with the calls. It maps foreign exceptions
to `channels.errors` by a table. It decides nothing about who may speak, about
sessions, repetition, rates, splitting over time or storage: `inbound.py` does
what is common on the way in, `delivery.py` and `manager.py` on the way out.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from bus.commands import Command
from bus.context import timestamp
from bus.keys import SessionKey, direct_key, group_key
from channels.content import (
    Address,
    Button,
    Content,
    Incoming,
    Media,
    MediaHandle,
    Reaction,
    Reply,
    Tap,
    Text,
    address_of,
)
from channels.settings import ChannelSettings
from channels.text import Counting, count, take_piece

if TYPE_CHECKING:
    from channels.inbound import InboundPipeline

__all__ = [
    "Address",
    "BaseChannel",
    "Button",
    "Capabilities",
    "ChannelState",
    "Content",
    "Incoming",
    "Media",
    "MediaHandle",
    "Notes",
    "Rate",
    "Reaction",
    "ReadBody",
    "Reply",
    "StateName",
    "Tap",
    "Text",
    "address_of",
]

StateName: TypeAlias = Literal["off", "starting", "ready", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket: `burst` calls at once, `per_second` in the long run."""

    burst: float
    per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a platform can do and how much of it; times in seconds. Differences between platforms live here."""

    max_chars: int
    counting: Counting = "characters"
    """`utf16`: code units, `characters`: code points, `bytes`: UTF-8."""
    edits: bool = True
    drafts: bool = False
    """Native streaming previews in private chats, which vanish when the message comes."""
    nonce_seconds: float = 0.0
    """How long the platform remembers a nonce, so that a send may be repeated and is shown once; 0: no nonce."""
    counts_messages: bool = False
    """Ids are numbers that rise with each message, and an edit of what isn't ours, or isn't there, is refused as
    `EditExpired` or `MessageGone`: an opener that was lost in doubt can be looked for."""
    final_edit: bool = False
    """A streaming message must be told that it is final, even where its text stays."""
    buttons: bool = True
    typing: bool = True
    typing_seconds: float = 4.0
    """How long one typing call shows; repeated at this pace."""
    reactions: bool = True
    threads: bool = True
    direct_rate: Rate = Rate(4, 1.0)
    group_rate: Rate = Rate(5, 1.0)
    """All calls to one chat together."""
    total_rate: Rate = Rate(30, 30.0)
    """All calls of the channel together."""
    edit_seconds: float = 1.0
    """Least time between two streaming edits (or drafts) of one message."""
    group_edit_seconds: float = 1.0
    first_seconds: float = 0.8
    """A streaming message appears this long after the first text; what is finished sooner is sent whole."""
    upload_bytes: int = 50_000_000


ReadBody: TypeAlias = Callable[[int], Awaitable[bytes]]
"""`read_body(limit)` reads the request's body; raises TooLarge (bus) above `limit` bytes."""


@dataclass(slots=True)
class ChannelState:
    """For `/status`. `since` is RFC 3339."""

    state: StateName = "off"
    reason: str = ""
    since: str = field(default_factory=timestamp)


class Notes(Protocol):
    """Small things that an adapter keeps across restarts, by a name beginning with the channel's."""

    async def note(self, name: str) -> str | None: ...

    async def keep_note(self, name: str, value: str) -> None: ...


class BaseChannel(ABC):
    """One account on one platform. `host.py` calls start, run, pause and stop, in this order, and makes
    a new one after each failure. The registry calls `cls(settings, inbound)`; what more a subclass's
    constructor takes has defaults. What an adapter must remember across restarts it keeps by
    `inbound.notes` or in files under `inbound.folder`.

    `account` is the bot's own immutable id, known after `start`.
    """

    name: ClassVar[str]
    place_word: ClassVar[Literal["topic", "thread"]] = "thread"
    """How this platform's threads are called in session keys."""

    settings_model: ClassVar[type[ChannelSettings]] = ChannelSettings
    """What `channels.<name>` of the configuration is checked against."""

    def __init__(self, settings: ChannelSettings, capabilities: Capabilities, inbound: "InboundPipeline") -> None:
        self.settings = settings
        self.capabilities = capabilities
        self.inbound = inbound
        self.account = ""
        self.state = ChannelState()
        self.on_ready: Callable[[], None] = lambda: None
        """Set by the host: what waits may go out now."""

    # ------------------------------------------------------------ life

    @abstractmethod
    async def start(self) -> None:
        """Open what sending needs and check the credentials. Raises ChannelAuthFailed, ChannelUnavailable."""

    @abstractmethod
    async def run(self) -> None:
        """Take in until cancelled, `mark("ready")` once connected. Raises ChannelAuthFailed, ChannelUnavailable."""

    async def pause(self) -> None:  # noqa: B027 (optional on purpose)
        """Take nothing in any more, confirm nothing any more; sending still works (drain)."""

    @abstractmethod
    async def stop(self) -> None:
        """Close everything, within a few seconds; also after a `start` that failed."""

    def mark(self, state: StateName, reason: str = "") -> None:
        """Say how this channel is."""
        if (state, reason) == (self.state.state, self.state.reason):
            return
        since = self.state.since if state == self.state.state else timestamp()
        self.state = ChannelState(state, reason, since)
        if state == "ready":
            self.on_ready()

    # ------------------------------------------------------------ out; all raise channels.errors only

    @abstractmethod
    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        """Show `content` as a new message and return its id on the platform.

        `nonce` is of 24 letters and digits, the same when it is repeated. `final` is False for a
        message that goes on streaming by `edit`. Markup that the platform refuses is sent again as
        plain text, here. A `reply_to` that is gone is left out, here.
        """

    async def edit(self, to: Address, message_id: str, content: Text, *, final: bool = True) -> None:
        """Show `content` in place of what `message_id` showed; repeating it changes nothing.

        Only asked of a channel whose `Capabilities` have `edits`.
        """
        raise NotImplementedError("asked of a channel whose capabilities have no edits")

    async def delete(self, to: Address, message_id: str) -> None:
        """Take our own message away. Only asked of a channel whose `Capabilities` have `edits` or `drafts`."""
        raise NotImplementedError("asked of a channel whose capabilities have no edits or drafts")

    async def draft(self, to: Address, draft_id: int, content: Text) -> None:
        """Show or replace the passing preview `draft_id`. Only asked where `Capabilities` have `drafts`."""
        raise NotImplementedError("asked of a channel whose capabilities have no drafts")

    async def typing(self, to: Address) -> None:  # noqa: B027 (optional on purpose)
        """Show that something is being written, for `typing_seconds`."""

    async def react(self, to: Address, message_id: str, emoji: str) -> None:  # noqa: B027 (optional on purpose)
        """Put a reaction under a person's message; '' takes it away."""

    async def set_commands(self, commands: Sequence[Command]) -> None:  # noqa: B027 (optional on purpose)
        """Make the platform's native command menu, in English and Chinese."""

    # ------------------------------------------------------------ in

    async def receive(self, incoming: Incoming) -> None:
        """Through the common pipeline; returns when the message is durable or refused, so confirm after it.

        Waits while the gateway is overloaded. Raises nothing but cancellation and, where
        `inbound` was told to have no patience (webhooks), Overloaded (bus).
        """
        await self.inbound.message(self, incoming)

    async def receive_tap(self, tap: Tap) -> None:
        """The same for a button."""
        await self.inbound.tap(self, tap)

    async def receive_reaction(self, reaction: Reaction) -> None:
        """The same for everything else that passes the gate and changes nothing."""
        await self.inbound.reaction(self, reaction)

    async def webhook(self, headers: Mapping[str, str], read_body: ReadBody) -> Reply:
        """One call by the platform. `headers` are case-insensitive. Checks the secret before the body is read
        where the platform's secret is in a header, and answers 200 only when everything in it is durable."""
        return Reply(404)

    # ------------------------------------------------------------ pure

    def take(self, markdown: str) -> tuple[str, str]:
        """The first piece of `markdown` that fits one message, and what remains for the next."""
        return take_piece(markdown, self.capabilities.max_chars, self.measure)

    def measure(self, markdown: str) -> int:
        """The length of one message as the platform counts it, after rendering."""
        return count(markdown, self.capabilities.counting)

    def bucket(self, to: Address) -> str:
        """Which chat's limits a call to `to` counts against."""
        return f"{to.kind}:{to.chat}"

    def session_of(self, incoming: Incoming) -> SessionKey:
        """The session that a message belongs to; only adapters make these keys."""
        agent_id = self.inbound.agent_of(incoming.place, incoming.identity)
        if incoming.place.kind == "direct":
            return direct_key(self.name, incoming.identity.peer, agent_id)
        chat = incoming.place.parent or incoming.place.chat
        if self.place_word == "topic":
            return group_key(self.name, chat, topic=incoming.thread, agent_id=agent_id)
        return group_key(self.name, chat, thread=incoming.thread, agent_id=agent_id)
