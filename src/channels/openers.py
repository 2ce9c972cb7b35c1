"""An opener whose sending is in doubt, looked for by number: pure. For platforms without a nonce that count messages.

What streams by edits begins with a message that holds nothing of the answer. Where the answer of the platform to it
was lost, sending the text anew would leave that message standing beside it for ever. So it is looked for: Telegram
numbers the messages of a chat upwards, and an edit tells what a number is. Made to show what it shows already, our
opener says so and is taken up; what is somebody else's, or nothing, refuses the edit, and nothing has changed.

* Tried are the numbers above the highest that was known in the chat when the opener left, so none of ours that is
  known to be there; never by a deletion, which an administrator's rights would extend to other people's messages.
* Found: the answer goes on in it, by edits. Three numbers in a row that hold nothing are the end of the chat: the
  opener did not arrive and is sent once more. Its number then ends the stretch in which an earlier one can still
  be (a platform may number the messages of all its chats in one row), and what is found there is taken away.
* More than thirty numbers are not tried: what may be left over is listed as `unknown`.

Only `chat_items.py` uses this.
"""

from channels.items import PLACEHOLDER, Item

MISSING_IN_A_ROW = 3
MOST_TRIED = 30


def number_of(platform_id: str | None) -> int | None:
    """The id as a number, if it is one."""
    return int(platform_id) if platform_id is not None and platform_id.isdecimal() else None


class Numbers:
    """What is known of the numbers in one chat."""

    def __init__(self) -> None:
        self._highest: int | None = None
        self._text_lost_after: int | None = None
        """Since this number a text of ours may stand there under a number that nobody knows."""

    def know(self, platform_id: str | None) -> None:
        """A message is there."""
        number = number_of(platform_id)
        if number is not None:
            self._highest = max(number, self._highest or 0)

    def text_lost(self, item: Item) -> None:
        """A text of ours may have arrived, and nobody knows where."""
        known = item.after if item.after is not None else self._highest
        self._text_lost_after = max(known or 0, self._text_lost_after or 0)

    def above(self) -> int | None:
        """Above which number a message that leaves now will be; None where a text of ours may be there too,
        or nothing is known."""
        if self._highest is None or (self._text_lost_after is not None and self._highest <= self._text_lost_after):
            return None
        return self._highest


def doubt(item: Item) -> None:
    """A sending of this opener may have arrived."""
    item.doubts += 1
    item.in_flight, item.attempts, item.tried_at = False, 0, None
    search(item)


def search(item: Item) -> None:
    """Look for it, from the first number on."""
    item.searching, item.tried_numbers, item.missing = True, 0, 0


def search_on(item: Item) -> None:
    """Look further, where the search had ended."""
    item.after = (item.after or 0) + item.missing
    search(item)


def candidate(item: Item) -> str:
    """The number that is tried next."""
    return str((item.after or 0) + item.missing + 1)


def not_this(item: Item, *, exists: bool) -> None:
    """The candidate is somebody else's message, or none."""
    item.tried_numbers += 1
    item.missing += 1
    if exists:
        item.after = (item.after or 0) + item.missing
        item.missing = 0
    item.searching = not _over(item)


def _over(item: Item) -> bool:
    if item.tried_numbers >= MOST_TRIED:
        return True
    if item.until is None:
        return item.missing >= MISSING_IN_A_ROW
    return int(candidate(item)) >= item.until


def looked_through(item: Item) -> bool:
    """Whether the search ended at its end, and not because it took too long."""
    return item.until is not None and int(candidate(item)) >= item.until


def left_over(item: Item, number: int | None) -> Item | None:
    """What earlier sendings of an opener, which now is there as `number`, may have left in the chat, if anything."""
    doubts, item.doubts = item.doubts, 0
    if not doubts or item.after is None or number is None or number <= item.after + 1:
        return None
    stray = Item(address=item.address, want=None, kind="stray", placeholder=True, shown=PLACEHOLDER, after=item.after,
                 until=number, doubts=doubts)  # fmt: skip
    search(stray)
    return stray
