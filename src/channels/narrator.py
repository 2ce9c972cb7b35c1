"""A session's events told to its chat: which of them change what is shown, and in which words.

Below is the pure `ChatDelivery`; above is `host.py`, which finds the chat. What
tools and sub-agents do is shown beside the answer and never becomes part of it.
"""

from dataclasses import replace

from bus.errors import CallCancelled
from bus.events import (
    AgentNote,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    ChatDone,
    ChatError,
    ChatStarted,
    QuestionRequested,
    SessionEvent,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from channels import approvals
from channels.delivery import ChatDelivery
from channels.items import Item, Turn
from channels.ledger import OpenApproval
from channels.text import clean
from channels.wording import decided, say

_ACTIVITY_CHARS = 140


def tell(chat: ChatDelivery, turn: Turn, event: SessionEvent, now: float) -> "OpenApproval | str | None":
    """Take `event` into `chat`. An approval to be kept comes back, or the final text of a turn that ended."""
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
            what = f"🧭 {clean(event.agent)}: {clean(event.text or event.state)}"
            chat.activity(turn.message_id, what[:_ACTIVITY_CHARS], now)
        case ApprovalRequested():
            return ask(chat, turn, event)
        case QuestionRequested():
            chat.notice(turn.address, say("asks", turn.language, message=clean(event.message)))
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
        sign = say("failed", turn.language, message=clean(event.message))
        if event.trace_id and event.code != CallCancelled.code:  # for whoever asks the operator what went wrong
            sign += f"\n`{event.trace_id}`"
        return f"{partial}\n\n{sign}" if partial else sign
    text = clean(event.text).strip("\n")
    if event.finish_reason == "cancelled":
        return f"{text}\n\n{say('stopped', turn.language)}" if text.strip() else say("stopped", turn.language)
    if not text.strip():
        return say("empty", turn.language)
    return f"{text}\n\n{say('cut', turn.language)}" if event.finish_reason == "length" else text


def ask(chat: ChatDelivery, turn: Turn, event: ApprovalRequested) -> OpenApproval:
    """A question with buttons in the chat; what its token stands for is to be kept."""
    token = approvals.new_token()
    text = approvals.question(event, turn.language, by_buttons=chat.buttons)
    rows = () if event.where == "bridge" else approvals.buttons(token, turn.language)
    item = chat.approval(turn, event.approval_id, text, rows)
    return OpenApproval(
        token=token,
        approval_id=event.approval_id,
        channel="",
        requester=turn.requester,
        user=event.user,
        language=turn.language,
        session=turn.session,
        question=text,
        delivery_id=item.delivery_id,
    )


def decide(chat: ChatDelivery, item: Item, event: ApprovalResolved, language: str) -> None:
    """The buttons go, and the text says what was decided."""
    if item.want is None or item.want.markdown.endswith(decided(event.decision, language)):
        return
    text = approvals.after(item.want.markdown, event.decision, language)
    chat.change(item, replace(item.want, markdown=text, buttons=()))
