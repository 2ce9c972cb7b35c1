"""What to tell one chat, and when: pure. Deltas in, calls within the platform's limits and rates out.

One `ChatDelivery` per chat: everything that is called there shares its bucket and
its not-before time. `next(now)` names one call or how long to wait; `outcome` is
told what came of it. In between, whatever arrives only changes what shall be
shown, so that the latest text wins and a wait of twenty minutes costs nothing.

The rules that keep a person from seeing two answers or a frozen half:

* New messages go out in order; one that may have been sent is sent again only
  under the platform's nonce, and then its text is edited in.
* Where there is no nonce, what streams is begun by a placeholder and the text
  travels in edits, which may be repeated; a finished text that was never begun
  goes whole. Lost on the way it is `unknown`, kept and listed, never sent again.
* The final text goes before streaming edits, which leave it a call in the bucket.

Times are seconds of a monotonic clock. Above is `lane.py`, which performs the
calls; below are `items.py`, `bucket.py`, and the channel's `take` as a function.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from bus.events import MediaRef
from channels.base import Address, Button, Capabilities
from channels.bucket import Bucket
from channels.errors import (
    ChannelAuthFailed,
    ChannelError,
    DeliveryRejected,
    EditExpired,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)
from channels.items import (
    PLACEHOLDER,
    Body,
    Call,
    Delete,
    Draft,
    Edit,
    Item,
    React,
    Send,
    StreamMode,
    Turn,
    Typing,
    Wait,
    requeue,
)
from channels.streaming import append, draft_due, lay_out, pieces_of, restart

TYPING_COST = 0.25
ACKNOWLEDGED = "👀"
BACKOFF_SECONDS = (1.0, 60.0)
AUTH_SECONDS = 15.0


class ChatDelivery:
    """The state of one chat. `changed` collects the items to be kept in the outbox."""

    def __init__(
        self, capabilities: Capabilities, take: Callable[[str], tuple[str, str]], *, group: bool, now: float
    ) -> None:
        self._can = capabilities
        self._take = take
        self._bucket = Bucket(capabilities.group_rate if group else capabilities.direct_rate, now)
        self._edit_seconds = capabilities.group_edit_seconds if group else capabilities.edit_seconds
        self._failures = 0
        self.not_before = 0.0
        self.items: list[Item] = []
        self.turns: dict[str, Turn] = {}
        self.changed: dict[str, Item] = {}
        self.closed: list[str] = []
        """Turns for which nothing remains to be done, for the ledger."""

    @property
    def buttons(self) -> bool:
        """Whether questions may have buttons here."""
        return self._can.buttons

    # ------------------------------------------------------------ what happens

    def begin(self, turn: Turn, mode: StreamMode) -> None:
        """A turn was accepted, or is taken up after a restart."""
        turn.mode = mode
        self.turns.setdefault(turn.message_id, turn)

    def started(self, message_id: str) -> None:
        """The answer begins, or begins again: what was shown of it is overwritten."""
        restart(self.turns[message_id])

    def delta(self, message_id: str, text: str, now: float) -> None:
        """More of the answer."""
        append(self.turns[message_id], text, now)

    def activity(self, message_id: str, text: str) -> None:
        """What is being done besides writing; '' for nothing."""
        turn = self.turns[message_id]
        if text != turn.activity:
            turn.activity, turn.dirty = text, True

    def finish(self, message_id: str, text: str) -> None:
        """The turn's whole text: final."""
        turn = self.turns[message_id]
        turn.ended, turn.dirty, turn.draft, turn.activity = True, False, None, ""
        self._lay(turn, pieces_of(text, self._take), final=True)

    def notice(self, address: Address, markdown: str, *, reply_to: str | None = None) -> Item:
        """A message of its own."""
        return self._add(Item(address=address, want=Body(markdown=markdown), kind="notice", reply_to=reply_to))

    def media(self, turn: Turn, ref: MediaRef) -> Item:
        """A file that a tool returned."""
        return self._add(Item(address=turn.address, want=Body(media=ref), kind="media", turn=turn.message_id,
                              owner=turn.user))  # fmt: skip

    def approval(self, turn: Turn, reference: str, text: str, buttons: tuple[tuple[Button, ...], ...]) -> Item:
        """A question with buttons."""
        body = Body(markdown=text, buttons=buttons if self._can.buttons else ())
        return self._add(Item(address=turn.address, want=body, kind="approval", turn=turn.message_id,
                              reference=reference, reply_to=turn.reply_to))  # fmt: skip

    def change(self, item: Item, body: Body | None) -> None:
        """What a message shall show from now on."""
        if item.want == body or (item.settled and item.platform_id is None):
            return
        item.want = body
        if body is None and item.platform_id is None and not item.in_flight:
            self._settle(item, "sent", "withdrawn")
            return
        item.state = "queued"
        self._done_if_shown(item)

    def restore(self, item: Item, now: float) -> None:
        """An item from before the restart. A send that was under way is repeated only while its nonce holds."""
        self.not_before = max(self.not_before, item.not_before)
        if item.in_flight and item.platform_id is None:
            item.in_flight = False
            if not self._nonce_holds(item, now):
                item.state, item.reason = "unknown", "the gateway stopped while it was being sent"
            self._touch(item)
        self.items.append(item)
        turn = self.turns.get(item.turn)
        if turn is not None and item.kind == "answer" and item.want is not None:
            turn.items[item.index : item.index + 1] = [item]

    def resend(self, item: Item) -> None:
        """An admin's wish: once more as a new message."""
        requeue(item)
        if item not in self.items:
            self.items.append(item)
        self._touch(item)

    # ------------------------------------------------------------ what to do

    def next(self, now: float) -> Call | Wait | None:
        """One call, or how long to wait, or None: nothing to do."""
        self._forget_settled()
        if now < self.not_before:
            return Wait(self.not_before - now) if self.items or self.turns else None
        self._give_up_lost(now)
        self._plan(now)
        soonest = self._soonest_due(now)
        for call, cost, reserve in self._candidates(now):
            wait = self._bucket.wait(now, cost, reserve)
            if wait <= 0:
                self._bucket.take(cost)
                self._leaving(call, now)
                return call
            soonest = wait if soonest is None else min(soonest, wait)
        return None if soonest is None else Wait(soonest)

    def _give_up_lost(self, now: float) -> None:
        """A send that may have arrived is not repeated once the platform has forgotten its nonce."""
        for item in self.items:
            if item.in_flight and not item.settled and item.platform_id is None and not self._nonce_holds(item, now):
                self._settle(item, "unknown", "no answer from the platform for as long as it remembers a nonce")

    def _candidates(self, now: float) -> Iterator[tuple[Call, float, float]]:
        """The calls that could be made, the most urgent first, each with its cost and what it leaves over."""
        streaming: list[tuple[Call, float, float]] = []
        for turn in self.turns.values():
            if turn.acknowledge and turn.reply_to and not turn.ended:
                yield React(turn, ACKNOWLEDGED), TYPING_COST, 1
        for item in self.items:
            if item.settled or item.platform_id is None:
                continue
            if item.want is None:
                yield Delete(item), 1, 0
            elif self._shows(item, item.want):
                continue
            elif item.want.final:
                yield Edit(item, item.want), 1, 0
            else:
                streaming.append((Edit(item, item.want), 1, 1))
        unsent = next((item for item in self.items if not item.settled and item.platform_id is None), None)
        if unsent is not None and unsent.want is not None:
            yield Send(unsent, self._first_body(unsent.want)), 1, 0 if unsent.want.final else 1
        yield from streaming
        for turn in self.turns.values():
            if turn.draft is not None and not turn.ended:
                yield Draft(turn, turn.draft), 1, 1
            if self._can.typing and not turn.ended and not turn.draft_shown and now >= turn.next_typing:
                yield Typing(turn), TYPING_COST, 1

    def _shows(self, item: Item, want: Body) -> bool:
        """Whether the person sees what he shall see already."""
        if item.shown is None or item.shown == want:
            return item.shown is not None
        return not self._can.final_edit and replace(item.shown, final=want.final) == want

    def _first_body(self, want: Body) -> Body:
        return want if want.final or self._can.nonce_seconds else PLACEHOLDER

    def _soonest_due(self, now: float) -> float | None:
        """When something that isn't due yet will be."""
        times = []
        for turn in self.turns.values():
            if turn.ended:
                continue
            if turn.dirty:
                times.append(self._due(turn))
            if self._can.typing and not turn.draft_shown:
                times.append(turn.next_typing)
            if turn.draft_shown:
                times.append(draft_due(turn))
        ahead = [time - now for time in times if time > now]
        return min(ahead) if ahead else None

    def _due(self, turn: Turn) -> float:
        if turn.items or turn.first_text_at is None or turn.mode == "draft":
            return turn.next_at
        return max(turn.next_at, turn.first_text_at + self._can.first_seconds)

    def _plan(self, now: float) -> None:
        """Turn what streamed into what shall be shown."""
        for turn in self.turns.values():
            if turn.ended or turn.mode == "off":
                continue
            if turn.dirty and now >= self._due(turn):
                turn.dirty, turn.next_at = False, now + self._edit_seconds
                self._show(turn)
            elif turn.draft_shown and now >= draft_due(turn):
                turn.draft_at = now
                self._show(turn)

    def _show(self, turn: Turn) -> None:
        if not turn.taken and not turn.rest.strip() and not turn.activity:
            return
        pieces, live = lay_out(turn, self._take, self._can.max_chars)
        if turn.mode == "draft":
            self._lay(turn, pieces[: len(turn.taken)], final=True)
            turn.draft = Body(markdown=live, activity=turn.activity, final=False)
        elif turn.items or turn.taken or turn.rest.strip():
            self._lay(turn, pieces, final=False)

    def _lay(self, turn: Turn, pieces: list[str], *, final: bool) -> None:
        """Make the turn's messages show `pieces`; what is too many goes."""
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            whole = final or not last
            body = Body(markdown=piece, activity="" if whole else turn.activity, final=whole)
            if index >= len(turn.items):
                turn.items.append(self._new_piece(turn, index, body))
            elif turn.items[index].state == "unknown" and turn.items[index].placeholder:
                if whole:
                    turn.items[index] = self._new_piece(turn, index, body)
            else:
                self.change(turn.items[index], body)
        if not (turn.mode == "draft" and not turn.ended):
            for item in turn.items[len(pieces) :]:
                self.change(item, None)
            del turn.items[len(pieces) :]

    def _new_piece(self, turn: Turn, index: int, body: Body) -> Item:
        return self._add(Item(address=turn.address, want=body, turn=turn.message_id, index=index,
                              reply_to=turn.reply_to if index == 0 else None))  # fmt: skip

    def _leaving(self, call: Call, now: float) -> None:
        match call:
            case Send(item, body):
                item.in_flight, item.attempts, item.placeholder = True, item.attempts + 1, body == PLACEHOLDER
                item.tried_at = item.tried_at or now
                self._touch(item)
            case Typing(turn):
                turn.next_typing = now + self._can.typing_seconds
            case Draft(turn, _):
                turn.draft, turn.draft_at = None, now
            case React(turn, _):
                turn.acknowledge = False

    # ------------------------------------------------------------ what came of it

    def outcome(self, call: Call, now: float, *, platform_id: str = "", error: ChannelError | None = None) -> None:
        """Take in the result of `call`."""
        if error is None:
            self._failures, self.not_before = 0, 0.0
            self._succeeded(call, platform_id)
            return
        if isinstance(error, RateLimited):
            self._hold(now + error.retry_after)
        elif isinstance(error, ChannelAuthFailed):
            self._hold(now + AUTH_SECONDS)
        elif isinstance(call, Send | Edit | Delete) and not isinstance(error, DeliveryRejected):
            self._back_off(now)
        match call:
            case Send(item, _):
                self._send_failed(item, error, now)
            case Edit(item, body):
                self._edit_failed(item, body, error)
            case Delete(item):
                if isinstance(error, DeliveryRejected):
                    self._settle(item, "sent", "withdrawn")
            case Draft(turn, _):
                if isinstance(error, DeliveryRejected):
                    turn.mode, turn.draft_shown, turn.dirty, turn.next_at = "edit", False, True, 0.0

    def _succeeded(self, call: Call, platform_id: str) -> None:
        match call:
            case Send(item, body):
                item.in_flight, item.platform_id = False, platform_id
                item.shown = body if item.attempts == 1 else None
                self._done_if_shown(item)
            case Edit(item, body):
                item.shown = body
                self._done_if_shown(item)
            case Delete(item):
                self._settle(item, "sent", "withdrawn")
            case Draft(turn, _):
                turn.draft_shown = True

    def _done_if_shown(self, item: Item) -> None:
        self._touch(item)
        if item.want is None or not item.want.final or item.platform_id is None:
            return
        if item.want.media is not None or not self._can.edits or self._shows(item, item.want):
            self._settle(item, "sent", "")

    def _send_failed(self, item: Item, error: ChannelError, now: float) -> None:
        if isinstance(error, DeliveryRejected):
            self._refuse(item, error.reason)
        elif isinstance(error, OutcomeUnknown) and not self._nonce_holds(item, now):
            self._settle(item, "unknown", error.reason)
        elif not isinstance(error, OutcomeUnknown):
            if item.attempts == 1:
                item.tried_at, item.attempts, item.in_flight = None, 0, False
            item.not_before = self.not_before
            self._touch(item)

    def _nonce_holds(self, item: Item, now: float) -> bool:
        return item.tried_at is not None and now - item.tried_at < self._can.nonce_seconds

    def _edit_failed(self, item: Item, body: Body, error: ChannelError) -> None:
        if isinstance(error, MessageGone | EditExpired):
            if isinstance(error, EditExpired):
                self._withdraw(item)
            if item.kind == "approval":
                self._settle(item, "sent", error.reason)
            else:
                self._again(item)
        elif isinstance(error, DeliveryRejected):
            if body.final:
                self._refuse(item, error.reason)
            else:
                item.shown = body
        else:
            item.not_before = self.not_before
            self._touch(item)

    def _withdraw(self, item: Item) -> None:
        """Take the message that can't be edited away, under a name of its own."""
        old = Item(address=item.address, want=None, kind="notice", platform_id=item.platform_id, shown=item.shown)
        self._add(old)

    def _again(self, item: Item) -> None:
        item.platform_id, item.shown, item.attempts, item.tried_at = None, None, 0, None
        self._touch(item)

    def _refuse(self, item: Item, reason: str) -> None:
        """For good: and the turn's later pieces make no sense alone."""
        self._settle(item, "refused", reason)
        turn = self.turns.get(item.turn)
        if turn is not None and item.kind == "answer":
            for later in turn.items:
                if later.index > item.index and not later.settled and later.platform_id is None:
                    self._settle(later, "refused", reason)

    def _settle(self, item: Item, state: str, reason: str) -> None:
        item.state, item.reason, item.in_flight = state, reason, False  # type: ignore[assignment]
        item.not_before = 0.0
        self._touch(item)

    def _hold(self, until: float) -> None:
        self.not_before = max(self.not_before, until)

    def _back_off(self, now: float) -> None:
        first, most = BACKOFF_SECONDS
        self._failures += 1
        self._hold(now + min(most, first * 2 ** (self._failures - 1)))

    def kick(self) -> None:
        """The platform is back: what only backed off may go at once."""
        if self._failures:
            self._failures, self.not_before = 0, 0.0

    # ------------------------------------------------------------ keeping

    def _add(self, item: Item) -> Item:
        self.items.append(item)
        self._touch(item)
        return item

    def _touch(self, item: Item) -> None:
        self.changed[item.delivery_id] = item

    def _forget_settled(self) -> None:
        ended = [t for t in self.turns.values() if t.ended and all(item.settled for item in t.items)]
        for turn in ended:
            del self.turns[turn.message_id]
            self.closed.append(turn.message_id)
        self.items = [i for i in self.items if not i.settled or i.turn in self.turns]

    @property
    def queued(self) -> int:
        """How many messages wait."""
        return sum(1 for item in self.items if not item.settled)
