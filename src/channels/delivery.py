"""What to tell one chat, and when: pure. Deltas in, calls within the platform's limits and rates out.

One `ChatDelivery` per chat: everything that is called there shares its bucket and
its not-before time. `next(now)` names one call or how long to wait; `outcome` is
told what came of it. In between, whatever arrives only changes what shall be
shown, so that the latest text wins and a wait of twenty minutes costs nothing.

The rules that keep a person from seeing two answers or a frozen half:

* New messages go out in order; one that may have been sent is sent again only
  under the platform's nonce, and then its text is edited in.
* Where there is no nonce, what streams is begun by an opener without text and the
  text travels in edits, which may be repeated; an opener that was lost is looked
  for where messages are counted (`openers.py`). A finished text that was never begun
  goes whole. Lost on the way it is `unknown`, kept and listed, never sent again.
* The final text goes before streaming edits, which leave it a call in the bucket.

Times are seconds of a monotonic clock. Above is `lane.py`, which performs the
calls; below are `chat_items.py` (what becomes of each message), `bucket.py`, and the
channel's `take` as a function.
"""

from collections.abc import Callable, Iterator

from bus.events import MediaRef
from channels import openers
from channels.base import Address, Button, Capabilities
from channels.bucket import Bucket
from channels.chat_items import ChatItems
from channels.items import (
    PLACEHOLDER,
    Body,
    Call,
    Delete,
    Draft,
    Edit,
    Item,
    Probe,
    QuestionKind,
    React,
    Send,
    StreamMode,
    Turn,
    Typing,
    Wait,
)
from channels.streaming import append, cut_last, draft_due, lay_out, restart
from channels.text import is_blank

TYPING_COST = 0.25
BREATH_SECONDS = 0.001
"""Between two pieces of a long text that is being cut."""
ACKNOWLEDGED = "👀"


class ChatDelivery(ChatItems):
    """The state of one chat: its turns, its messages, its bucket."""

    def __init__(
        self, capabilities: Capabilities, take: Callable[[str], tuple[str, str]], *, group: bool, now: float
    ) -> None:
        super().__init__(capabilities)
        self._take = take
        self._bucket = Bucket(capabilities.group_rate if group else capabilities.direct_rate, now)
        self._edit_seconds = capabilities.group_edit_seconds if group else capabilities.edit_seconds
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
        self._numbers.know(turn.reply_to)
        self.turns.setdefault(turn.message_id, turn)

    def started(self, message_id: str) -> None:
        """The answer begins, or begins again: what was shown of it is overwritten."""
        restart(self.turns[message_id])

    def delta(self, message_id: str, text: str, now: float) -> None:
        """More of the answer."""
        append(self.turns[message_id], text, now)

    def activity(self, message_id: str, text: str, now: float) -> None:
        """What is being done besides writing; '' for nothing."""
        turn = self.turns[message_id]
        if text != turn.activity:
            turn.activity, turn.dirty = text, True
            turn.first_text_at = turn.first_text_at or now

    def finish(self, message_id: str, text: str) -> None:
        """The turn's whole text: final."""
        turn = self.turns[message_id]
        turn.ended, turn.dirty, turn.draft, turn.activity = True, False, None, ""
        turn.final_text, turn.final_rest = text, None

    def notice(self, address: Address, markdown: str, *, reply_to: str | None = None) -> Item:
        """A message of its own; what is too long for one is cut."""
        piece, rest = self._take(markdown)
        body = Body(markdown=piece if not rest else f"{piece[:-1]}…")
        return self._add(Item(address=address, want=body, kind="notice", reply_to=reply_to))

    def media(self, turn: Turn, ref: MediaRef) -> Item:
        """A file that a tool returned."""
        return self._add(Item(address=turn.address, want=Body(media=ref), kind="media", turn=turn.message_id,
                              owner=turn.user))  # fmt: skip

    def question(
        self, turn: Turn, kind: QuestionKind, reference: str, text: str, buttons: tuple[tuple[Button, ...], ...]
    ) -> Item:
        """A question with buttons; `reference` is its id. It is one message: what is too long for that is cut."""
        piece, rest = self._take(text)
        body = Body(markdown=piece if not rest else f"{piece[:-1]}…", buttons=buttons if self._can.buttons else ())
        return self._add(Item(address=turn.address, want=body, kind=kind, turn=turn.message_id,
                              reference=reference, reply_to=turn.reply_to))  # fmt: skip

    def signed(self, markdown: str, words: str) -> str:
        """`words` below the text of a message, or above what there is room for."""
        below = f"{markdown}\n\n{words}"
        return self._take(f"{words}\n\n{markdown}")[0] if self._take(below)[1] else below

    # ------------------------------------------------------------ what to do

    def next(self, now: float) -> Call | Wait | None:
        """One call, or how long to wait, or None: nothing to do."""
        self._forget_settled()
        if now < self.not_before:
            return Wait(self.not_before - now) if self.items or self.turns else None
        self._give_up_lost(now)
        if self._cuts():
            return Wait(BREATH_SECONDS)
        self._forget_settled()  # what was laid out last may all be listed already
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
        unsent = [item for item in self.items if not item.settled and item.platform_id is None]
        first = next((item for item in unsent if item.kind != "stray"), None)
        if first is not None:
            want = first.want or PLACEHOLDER  # sent under its nonce it may be there already, and then it goes
            number = openers.candidate(first) if first.searching else ""
            yield Probe(first, number) if number else Send(first, self._first_body(first, want)), 1, int(not want.final)
        yield from streaming
        for turn in self.turns.values():
            if turn.draft is not None and not turn.ended:
                yield Draft(turn, turn.draft), 1, 1
            if self._can.typing and not turn.ended and now >= turn.next_typing:
                yield Typing(turn), TYPING_COST, 1
        for item in unsent:
            if item.kind == "stray" and item.searching:
                yield Probe(item, openers.candidate(item)), 1, 1

    def _first_body(self, item: Item, want: Body) -> Body:
        """What a message begins as: the opener where a repeated send could not be told from a new one.

        A finished text goes whole; but of a text in several messages none may be missing, and after an opener
        that was lost the next send may be lost too.
        """
        turn = self.turns.get(item.turn) if item.kind == "answer" and self._can.counts_messages else None
        several = turn is not None and (len(turn.items) > 1 or bool(turn.taken and not turn.ended))
        if item.doubts or several or not (want.final or self._can.nonce_seconds):
            return PLACEHOLDER
        return want

    def _soonest_due(self, now: float) -> float | None:
        """When something that isn't due yet will be."""
        times = []
        for turn in self.turns.values():
            if turn.ended:
                continue
            if turn.dirty:
                times.append(self._due(turn))
            if self._can.typing:
                times.append(turn.next_typing)
            if turn.draft_shown:
                times.append(draft_due(turn))
        ahead = [time - now for time in times if time > now]
        return min(ahead) if ahead else None

    def _due(self, turn: Turn) -> float:
        if turn.items or turn.first_text_at is None or turn.mode == "draft":
            return turn.next_at
        return max(turn.next_at, turn.first_text_at + self._can.first_seconds)

    def _cuts(self) -> bool:
        """Lay out what ended, a piece at a time; whether more is to be cut."""
        turn = next((turn for turn in self.turns.values() if turn.final_text is not None), None)
        if turn is None:
            return False
        pieces = cut_last(turn, self._take)
        if pieces is not None:
            self._lay(turn, pieces, final=True)
        return pieces is None

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
        if turn.first_text_at is None:
            return
        pieces, live = lay_out(turn, self._take, self._can.max_chars)
        if turn.mode == "draft":
            self._lay(turn, pieces[: len(turn.taken)], final=True)
            if not is_blank(live) or turn.activity:  # a preview of nothing is refused
                turn.draft = Body(markdown=live, activity=turn.activity, final=False)
        elif pieces or turn.activity:
            self._lay(turn, pieces or [""], final=False)

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
        item = self._add(Item(address=turn.address, want=body, turn=turn.message_id, index=index,
                              reply_to=turn.reply_to if index == 0 else None))  # fmt: skip
        if index and turn.items[index - 1].state == "refused":  # alone it makes no sense
            self._settle(item, "refused", turn.items[index - 1].reason)
        return item

    def _leaving(self, call: Call, now: float) -> None:
        match call:
            case Send(item, body):
                item.in_flight, item.attempts, item.placeholder = True, item.attempts + 1, body == PLACEHOLDER
                item.tried_at = item.tried_at or now
                item.after = item.after if item.doubts else self._number_above()
                self._touch(item)
            case Typing(turn):
                turn.next_typing = now + self._can.typing_seconds
            case Draft(turn, _):
                turn.draft, turn.draft_at = None, now
            case React(turn, _):
                turn.acknowledge = False

    def _number_above(self) -> int | None:
        return self._numbers.above() if self._can.counts_messages else None

    def _forget_settled(self) -> None:
        ended = [
            turn
            for turn in self.turns.values()
            if turn.ended and turn.final_text is None and all(item.settled for item in turn.items)
        ]
        for turn in ended:
            del self.turns[turn.message_id]
            self.closed.append(turn.message_id)
        self.items = [i for i in self.items if not i.settled or i.turn in self.turns]
