"""What is on its way to a chat, as data: the pieces, the turns they belong to, and what to do next.

`delivery.py` decides with these, `outbox.py` keeps them, `lane.py` performs the actions.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from bus.context import new_id
from bus.events import JsonObject, MediaRef
from channels.base import Address, Button

ItemState: TypeAlias = Literal["queued", "sent", "unknown", "refused"]
QuestionKind: TypeAlias = Literal["approval", "question"]
"""A call that needs a yes; what a tool server wants to know."""
StreamMode: TypeAlias = Literal["draft", "edit", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What one message shows, or shall show. `final`: it will not stream on."""

    markdown: str = ""
    plain: bool = False
    activity: str = ""
    buttons: tuple[tuple[Button, ...], ...] = ()
    media: MediaRef | None = None
    final: bool = True

    def to_json(self) -> JsonObject:
        """For the outbox."""
        out: JsonObject = {"markdown": self.markdown, "plain": self.plain, "final": self.final}
        if self.buttons:
            out["buttons"] = [[[b.label, b.data, b.style] for b in row] for row in self.buttons]
        if self.media:
            out["media"] = [self.media.media_id, self.media.mime, self.media.name, self.media.size]
        return out

    @classmethod
    def from_json(cls, data: JsonObject) -> "Body":
        """The inverse of `to_json`; activity is not kept."""
        media = data.get("media")
        return cls(
            markdown=data["markdown"],
            plain=data["plain"],
            final=data["final"],
            buttons=tuple(tuple(Button(*button) for button in row) for row in data.get("buttons", ())),
            media=MediaRef(media_id=media[0], mime=media[1], name=media[2], size=media[3]) if media else None,
        )


MEDIA_TRIES = 3
PLACEHOLDER = Body(markdown="…", plain=True, final=False)
"""Sent first where a repeated send could not be told from a new one: it holds nothing of the answer."""


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """One message on the platform, from wish to fact.

    `want` is what it shall show (None: it shall go), `shown` what the platform confirmed.
    `in_flight`: a send has left whose outcome isn't known yet. Times are seconds since the epoch.
    """

    delivery_id: str = field(default_factory=lambda: new_id("dlv"))
    address: Address
    want: Body | None
    turn: str = ""
    index: int = 0
    kind: Literal["answer", "notice", "media", "approval", "question", "stray"] = "answer"
    """`stray`: an opener that may have been left behind, to be found and taken away."""
    reply_to: str | None = None
    reference: str = ""
    """The id of what is asked, for an approval or a question."""
    owner: str = ""
    """Whose media it is."""
    platform_id: str | None = None
    shown: Body | None = None
    state: ItemState = "queued"
    reason: str = ""
    in_flight: bool = False
    placeholder: bool = False
    """What has been sent, or tried, is only the placeholder."""
    tried_at: float | None = None
    attempts: int = 0
    not_before: float = 0.0
    at: float = 0.0
    after: int | None = None
    """The highest number known in the chat when it left, where the platform counts messages; see `openers.py`."""
    until: int | None = None
    """Where the search for a stray ends."""
    doubts: int = 0
    """How many sendings of the opener may have arrived."""
    searching: bool = False
    tried_numbers: int = 0
    missing: int = 0
    """The last three are of the search that is under way, and not kept over a restart."""

    @property
    def nonce(self) -> str:
        """25 letters and digits, the same for every repetition, and telling when the message was first wished for."""
        return self.delivery_id[-25:]

    @property
    def tried_enough(self) -> bool:
        """A file whose upload did not end in time so often is given up: everything behind it waits."""
        return self.want is not None and self.want.media is not None and self.attempts >= MEDIA_TRIES

    @property
    def settled(self) -> bool:
        """Nothing more will be done about it by itself."""
        return self.state != "queued"

    def anew(self) -> "Item":
        """The same wish as another message, of which nothing has been sent."""
        return Item(address=self.address, want=self.want, turn=self.turn, index=self.index, kind=self.kind,
                    reply_to=self.reply_to, reference=self.reference, owner=self.owner)  # fmt: skip


def requeue(item: Item) -> None:
    """Once more, as a new message, whatever became of it before; a stray is looked for once more."""
    if item.kind == "stray":
        item.state, item.reason = "queued", ""
        return
    item.state, item.reason, item.in_flight, item.attempts, item.platform_id = "queued", "", False, 0, None
    item.tried_at, item.shown, item.placeholder, item.doubts, item.searching = None, None, False, 0, False
    if item.want is not None:  # nobody may be left to say that it has ended
        item.want = replace(item.want, final=True)


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """A turn as its chat sees it. `text` is what streamed since the last start."""

    message_id: str
    session: str
    address: Address
    reply_to: str | None = None
    requester: str = ""
    """`channel:account:peer` of who asked, '' where it didn't begin here."""
    user: str = ""
    language: str = "en"
    mode: StreamMode = "edit"
    items: list[Item] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    """Pieces that are complete."""
    rest: str = ""
    """Markdown after them, as far as it was looked at."""
    streamed: list[str] = field(default_factory=list)
    """All deltas since the last start; the first `looked_at` of them are in `taken` and `rest`."""
    looked_at: int = 0
    final_text: str | None = None
    """The whole text of a turn that ended, not yet laid out; what is cut of it is in the next two."""
    final_pieces: list[str] = field(default_factory=list)
    final_rest: str | None = None
    activity: str = ""
    ended: bool = False
    dirty: bool = False
    first_text_at: float | None = None
    next_at: float = 0.0
    next_typing: float = 0.0
    acknowledge: bool = False
    draft: Body | None = None
    draft_shown: bool = False
    draft_at: float = 0.0
    taken_away: int = 0
    """How often a message that streamed was gone; like the next, not kept over a restart."""
    trace_id: str = ""
    """Of the message it answers."""

    def stops_streaming(self, streams: bool) -> bool:
        """Whether somebody takes away what streams, again and again: then the answer comes whole at its end."""
        self.taken_away += streams
        if streams and self.taken_away > 1:
            self.mode = "off"
        return streams and self.taken_away > 1


@dataclass(frozen=True, slots=True)
class Send:
    item: Item
    body: Body


@dataclass(frozen=True, slots=True)
class Edit:
    item: Item
    body: Body


@dataclass(frozen=True, slots=True)
class Delete:
    item: Item


@dataclass(frozen=True, slots=True)
class Probe:
    """Edit `platform_id` to show the opener: tells whether it is ours and changes nothing that isn't."""

    item: Item
    platform_id: str


@dataclass(frozen=True, slots=True)
class Draft:
    turn: Turn
    body: Body


@dataclass(frozen=True, slots=True)
class Typing:
    turn: Turn


@dataclass(frozen=True, slots=True)
class React:
    turn: Turn
    emoji: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Call: TypeAlias = Send | Edit | Delete | Probe | Draft | Typing | React
