"""The messages of one chat and what becomes of them: pure. Below `delivery.py`, which decides the next call.

An item is a message on the platform, from wish to fact. Here is what each outcome
of a call means for it: sent, to be repeated, unknown, refused, gone; and how long
the chat has to wait. Times are seconds of a monotonic clock.
"""

from dataclasses import replace

from channels import openers
from channels.base import Capabilities
from channels.errors import (
    ChannelAuthFailed,
    ChannelError,
    DeliveryRejected,
    EditExpired,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)
from channels.items import PLACEHOLDER, Body, Call, Delete, Draft, Edit, Item, ItemState, Probe, Send, Turn, requeue

BACKOFF_SECONDS = (1.0, 60.0)
AUTH_SECONDS = 15.0


class ChatItems:
    """The items of a chat. `changed` collects those to be kept in the outbox."""

    def __init__(self, capabilities: Capabilities) -> None:
        self._can = capabilities
        self._failures = 0
        self.not_before = 0.0
        self.items: list[Item] = []
        self.turns: dict[str, Turn] = {}
        self.changed: dict[str, Item] = {}
        self._numbers = openers.Numbers()

    # ------------------------------------------------------------ what shall be shown

    def change(self, item: Item, body: Body | None) -> None:
        """What a message shall show from now on."""
        if item.want == body:
            return
        if item.settled and item.platform_id is None:
            self._relist(item, body)
            return
        item.want = body
        if body is None and item.platform_id is None and not item.in_flight and not item.doubts:
            self._settle(item, "sent", "withdrawn")
            return
        item.state = "queued"
        self._done_if_shown(item)

    def _relist(self, item: Item, body: Body | None) -> None:
        """What is listed can be sent again: then it is the whole text that comes, and not what streamed so far."""
        if item.state == "refused" and body is None:
            self._settle(item, "sent", "withdrawn")
        elif item.state != "sent" and body is not None and body.final:
            item.want = body
            self._touch(item)

    def restore(self, item: Item, now: float) -> None:
        """An item from before the restart. A send that was under way is repeated only while its nonce holds."""
        self.not_before = max(self.not_before, item.not_before)
        self._numbers.know(item.platform_id)
        if item.in_flight and item.platform_id is None and not self._nonce_holds(item, now):
            self._in_doubt(item, "the gateway stopped while it was being sent")
        elif item.state == "unknown" and not item.placeholder:
            self._numbers.text_lost(item)
        elif item.doubts and item.platform_id is None:
            openers.search(item)
        self.items.append(item)
        turn = self.turns.get(item.turn)
        if turn is not None and item.kind == "answer" and item.want is not None:
            turn.items[item.index : item.index + 1] = [item]

    def arrived(self, item: Item, platform_id: str) -> None:
        """A message of unknown outcome stands there after all."""
        item.platform_id, item.shown = platform_id, item.want
        if item not in self.items:
            self.items.append(item)
        self._settle(item, "sent", "")

    def resend(self, item: Item) -> None:
        """An admin's wish: once more as a new message. What is on its way again already goes once."""
        item = next((each for each in self.items if each.delivery_id == item.delivery_id), item)
        if item in self.items and not item.settled:
            return
        requeue(item)
        if item.kind == "stray":
            openers.search_on(item)
        if item not in self.items:
            self.items.append(item)
        self._touch(item)

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
        elif isinstance(call, Send | Edit | Delete | Probe) and not isinstance(error, DeliveryRejected):
            self._back_off(now)
        match call:
            case Send(item, _):
                self._send_failed(item, error, now)
            case Edit(item, body):
                self._edit_failed(item, body, error)
            case Delete(item):
                if isinstance(error, DeliveryRejected):
                    self._settle(item, "sent", "withdrawn")
            case Probe(item, _):
                if isinstance(error, DeliveryRejected):
                    self._not_found_there(item, error)
            case Draft(turn, _):
                if isinstance(error, DeliveryRejected):
                    turn.mode = "edit" if self._can.edits else "off"
                    turn.draft_shown, turn.dirty, turn.next_at = False, True, 0.0

    def _succeeded(self, call: Call, platform_id: str) -> None:
        match call:
            case Send(item, body):
                item.in_flight, item.platform_id = False, platform_id
                item.shown = body if item.attempts == 1 else None
                self._numbers.know(platform_id)
                stray = openers.left_over(item, openers.number_of(platform_id))
                if stray is not None:
                    self._add(stray)
                self._done_if_shown(item)
            case Edit(item, body):
                item.shown = body
                self._done_if_shown(item)
            case Delete(item):
                self._settle(item, "sent", "withdrawn")
            case Probe(item, found):
                self._found(item, found)
            case Draft(turn, _):
                turn.draft_shown = True

    def _found(self, item: Item, platform_id: str) -> None:
        """An opener whose sending was in doubt stands there: the answer goes on in it; a stray is taken away."""
        self._numbers.know(platform_id)
        openers.not_this(item, exists=True)
        item.doubts -= 1
        if item.kind == "stray":
            self._add(Item(address=item.address, want=None, kind="notice", platform_id=platform_id, shown=PLACEHOLDER))
            if not item.doubts:
                self._settle(item, "sent", "withdrawn")
            elif not item.searching:
                self._search_ended(item)
            return
        # An earlier one was not there when it was looked for; this is the last, and behind it there is none.
        item.platform_id, item.shown, item.searching, item.doubts = platform_id, PLACEHOLDER, False, 0
        self._touch(item)

    def _not_found_there(self, item: Item, error: DeliveryRejected) -> None:
        openers.not_this(item, exists=isinstance(error, EditExpired))
        if not isinstance(error, EditExpired | MessageGone):
            item.searching = False
        if not item.searching:
            self._search_ended(item)
        self._touch(item)

    def _search_ended(self, item: Item) -> None:
        if item.kind == "stray" and openers.looked_through(item):
            self._settle(item, "sent", "withdrawn")
        elif item.kind == "stray":
            self._settle(item, "unknown", "a message without text may have been left in the chat")
        elif item.want is None:
            self._settle(item, "sent", "withdrawn")

    def _done_if_shown(self, item: Item) -> None:
        self._touch(item)
        if item.want is None or not item.want.final or item.platform_id is None:
            return
        if item.want.media is not None or not self._can.edits or self._shows(item, item.want):
            self._settle(item, "sent", "")

    def _send_failed(self, item: Item, error: ChannelError, now: float) -> None:
        if isinstance(error, DeliveryRejected):
            self._refuse(item, error.reason)
        elif isinstance(error, OutcomeUnknown) and (not self._nonce_holds(item, now) or item.tried_enough):
            self._in_doubt(item, error.reason)
        elif not isinstance(error, OutcomeUnknown):
            if item.attempts == 1:
                item.tried_at, item.attempts, item.in_flight = None, 0, False
            item.not_before = self.not_before
            self._touch(item)

    def _in_doubt(self, item: Item, reason: str) -> None:
        """It may stand in the chat, and no nonce tells. An opener is looked for; a text is never sent again."""
        if item.placeholder and item.after is not None:
            openers.doubt(item)
            self._touch(item)
            return
        self._settle(item, "unknown", reason)
        if not item.placeholder:
            self._numbers.text_lost(item)

    def _nonce_holds(self, item: Item, now: float) -> bool:
        return item.tried_at is not None and now - item.tried_at < self._can.nonce_seconds

    def _edit_failed(self, item: Item, body: Body, error: ChannelError) -> None:
        if isinstance(error, MessageGone | EditExpired):
            if isinstance(error, EditExpired):
                self._withdraw(item)
            if item.kind in ("approval", "question"):
                self._settle(item, "sent", error.reason)
            else:
                self._again(item, streams=not body.final)
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

    def _again(self, item: Item, *, streams: bool) -> None:
        """As a new message in its place, under a nonce of its own: by the old one platforms give back what is gone."""
        self._settle(item, "sent", "withdrawn")
        turn = self.turns.get(item.turn)
        place = turn.items.index(item) if turn is not None and item in turn.items else None
        if turn is not None and turn.items[-1:] == [item] and turn.stops_streaming(streams):
            turn.items.pop()
            return
        new = item.anew()
        self.items.insert(self.items.index(item), new)
        self._touch(new)
        if turn is not None and place is not None:
            turn.items[place] = new

    def _refuse(self, item: Item, reason: str) -> None:
        """For good: and the turn's later pieces make no sense alone."""
        self._settle(item, "refused", reason)
        turn = self.turns.get(item.turn)
        if turn is not None and item.kind == "answer":
            for later in turn.items:
                if later.index > item.index and not later.settled and later.platform_id is None:
                    self._settle(later, "refused", reason)

    def _settle(self, item: Item, state: ItemState, reason: str) -> None:
        item.state, item.reason, item.in_flight = state, reason, False
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

    def _shows(self, item: Item, want: Body) -> bool:
        """Whether the person sees what he shall see already."""
        if item.shown is None or item.shown == want:
            return item.shown is not None
        return not self._can.final_edit and replace(item.shown, final=want.final) == want

    def _give_up_lost(self, now: float) -> None:
        """A send that may have arrived is not repeated once the platform has forgotten its nonce."""
        for item in self.items:
            if item.in_flight and not item.settled and item.platform_id is None and not self._nonce_holds(item, now):
                self._settle(item, "unknown", "no answer from the platform for as long as it remembers a nonce")

    def _add(self, item: Item) -> Item:
        self.items.append(item)
        self._touch(item)
        return item

    def _touch(self, item: Item) -> None:
        self.changed[item.delivery_id] = item

    @property
    def queued(self) -> int:
        """How many messages wait."""
        waiting = sum(1 for turn in self.turns.values() if turn.final_text is not None and not turn.items)
        return waiting + sum(1 for item in self.items if not item.settled)
