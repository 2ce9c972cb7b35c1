"""A session's events told to its chat: which of them change what is shown, and in which words.

Below is the pure `ChatDelivery`; above is `host.py`, which finds the chat. What
tools and sub-agents do is shown beside the answer and never becomes part of it.
"""

from dataclasses import dataclass, replace

from bus.errors import CallCancelled
from bus.events import (
    AgentNote,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    ChatDone,
    ChatError,
    ChatMessage,
    ChatStarted,
    QuestionRequested,
    SessionEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from bus.wording import explain, word
from channels import approvals, forms
from channels.base import Address
from channels.delivery import ChatDelivery
from channels.forms import Form
from channels.items import Item, Turn
from channels.ledger import OpenApproval
from channels.text import clean, is_blank
from channels.wording import decided, say

_ACTIVITY_CHARS = 140
_ECHO_CHARS = 600


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A server's question that can be answered in the chat. `kept` is what its token stands for."""

    kept: OpenApproval
    form: Form
    item: Item
    turn: str
    address: Address


def tell(chat: ChatDelivery, turn: Turn, event: SessionEvent, now: float) -> OpenApproval | OpenQuestion | str | None:
    """Take `event` into `chat`. A question to be kept comes back, or the final text of a turn that ended."""
    match event:
        case ChatDelta():
            chat.delta(turn.message_id, clean(event.delta), now)
        case ChatStarted():
            chat.started(turn.message_id)
        case ToolStarted():
            chat.activity(turn.message_id, _activity(event.name, event.agent), now)
        case ToolProgress():
            if event.message:
                what = f"{turn.activity.split(' – ')[0]} – {clean(event.message)}"
                chat.activity(turn.message_id, what[:_ACTIVITY_CHARS], now)
        case ToolFinished():
            chat.activity(turn.message_id, "", now)
            for ref in event.media:
                chat.media(turn, ref)
        case AgentNote():
            what = f"🧭 {clean(event.agent)}: {clean(event.text) or word(event.state, turn.language)}"
            chat.activity(turn.message_id, what[:_ACTIVITY_CHARS], now)
        case ApprovalRequested():
            return ask(chat, turn, event)
        case QuestionRequested():
            return inquire(chat, turn, event)
        case ChatDone() | ChatError():
            text = ending(event, turn)
            chat.finish(turn.message_id, text)
            return text
        case _:
            pass
    return None


def _activity(name: str, agent: str) -> str:
    return clean(f"⚙️ {agent + ': ' if agent else ''}{name}")[:_ACTIVITY_CHARS]


def ending(event: ChatDone | ChatError, turn: Turn) -> str:
    """The whole text that stays: never blank, and saying so where it isn't the whole answer."""
    if isinstance(event, ChatError):
        partial = "".join(turn.streamed).strip()
        sign = say("failed", turn.language, message=explain(event.code, clean(event.message), turn.language))
        if event.trace_id and event.code != CallCancelled.code:  # for whoever asks the operator what went wrong
            sign += f"\n`{event.trace_id}`"
        return f"{partial}\n\n{sign}" if partial else sign
    text = clean(event.text).strip("\n")
    if event.finish_reason == "cancelled":
        return f"{text}\n\n{say('stopped', turn.language)}" if not is_blank(text) else say("stopped", turn.language)
    if is_blank(text):
        return say("empty", turn.language)
    return f"{text}\n\n{say('cut', turn.language)}" if event.finish_reason == "length" else text


def ask(chat: ChatDelivery, turn: Turn, event: ApprovalRequested) -> OpenApproval:
    """A question with buttons in the chat; what its token stands for is to be kept."""
    token = approvals.new_token()
    text = approvals.question(event, turn.language, by_buttons=chat.buttons)
    rows = () if event.where == "bridge" else approvals.buttons(token, turn.language)
    item = chat.question(turn, "approval", event.approval_id, text, rows)
    return _kept(turn, item, token, event.user, text)


def inquire(chat: ChatDelivery, turn: Turn, event: QuestionRequested) -> OpenQuestion | None:
    """A tool server's question: with buttons, or to be answered by a text, or a pointer to where it can be."""
    form = forms.form_of(event.schema, turn.language)
    if form is None:
        chat.notice(turn.address, say("asks", turn.language, message=clean(event.message)))
        return None
    token = approvals.new_token()
    text = forms.question(event.message, form, turn.language, by_buttons=chat.buttons)
    rows = forms.buttons(token, form, turn.language)
    item = chat.question(turn, "question", event.question_id, text, rows)
    return OpenQuestion(_kept(turn, item, token, event.user, text), form, item, turn.message_id, turn.address)


def _kept(turn: Turn, item: Item, token: str, user: str, text: str) -> OpenApproval:
    return OpenApproval(
        token=token, approval_id=item.reference, channel="", requester=_asked(turn, user), user=user,
        language=turn.language, session=turn.session, question=text, delivery_id=item.delivery_id,
    )  # fmt: skip


def _asked(turn: Turn, user: str) -> str:
    """Who alone may press: who asked. A turn that didn't begin here is taken for the one's who spoke last; where it is
    somebody else's, he is known by his user alone."""
    return turn.requester if turn.user in ("", user) else ""


def echo(event: ChatMessage, language: str) -> str:
    """A question that was typed at another client of the same conversation, so that its answer has one here."""
    text = clean(event.text).strip()
    shown = text if len(text) <= _ECHO_CHARS else f"{text[:_ECHO_CHARS]}…"
    lines = [f"> {line}" for line in shown.splitlines()] + [f"> 📎 {clean(ref.name)}" for ref in event.media]
    head = [say("elsewhere", language)] if event.origin else []
    return "\n".join([*head, *lines])


def decide(chat: ChatDelivery, item: Item, event: ApprovalResolved, language: str) -> None:
    """The buttons go, and the text says what was decided."""
    words = decided(event.decision, language)
    if item.want is None or item.want.markdown.endswith(words) or item.want.markdown.startswith(words):
        return
    if event.decision == "closed" and not item.want.buttons:
        return  # pressed once more, after the decision: what was decided stands
    chat.change(item, replace(item.want, markdown=chat.signed(item.want.markdown, words), buttons=()))


def sign(chat: ChatDelivery, item: Item, words: str) -> None:
    """What became of a server's question, below it; its buttons go."""
    if item.want is None or not item.want.buttons:
        return
    if item not in chat.items:
        chat.items.append(item)
    chat.change(item, replace(item.want, markdown=chat.signed(item.want.markdown, words), buttons=()))
