"""How a turn ended that ended before somebody asked: read from the log."""

from agent.ports.sessions import Record, SessionStore
from agent.sessions import records as kinds
from bus.errors import GatewayError, NotFound, from_code
from bus.events import Accepted, ChatDone, ChatError, Usage
from bus.keys import SessionKey
from channels.ports import Outcome


def as_error(ending: ChatError) -> GatewayError:
    """A turn's bad end as the error that whoever waits for the answer gets: it says the same."""
    return from_code(ending.code, ending.message, retry_after_ms=ending.retry_after_ms, retryable=ending.retryable)


class Endings:
    """Reads ends of turns out of the log."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def find(self, accepted: Accepted) -> ChatDone | ChatError | None:
        """The end of the message's turn, or None while it waits or runs, or its end is not on the disk yet.

        Raises NotFound where there will be none: the message went with its session, which was deleted.
        """
        state = await self._store.state(accepted.session)
        if state is not None and accepted.message_id in state.open_turns:
            return None
        synced = self._store.synced_seq(accepted.session)
        for record in await self._store.read(accepted.session, after_seq=accepted.seq, types=kinds.ENDS_TURN):
            if record.data.get("message_id") == accepted.message_id:
                # The disk may still refuse what was on its way, or have done so meanwhile: then the turn is open again.
                return None if synced is not None and record.seq > synced else _event(record, accepted)
        raise NotFound("this message was deleted with its session")


class Outcomes(Endings):
    """Implements `channels.ports.Answers`."""

    async def outcome(self, session: SessionKey, message_id: str) -> Outcome:
        """How the turn of a message stands."""
        state = await self._store.state(session)
        if state is None:
            return Outcome(state="unknown")
        if message_id in state.open_turns:
            return Outcome(state="open")
        try:
            ended = await self.find(Accepted(message_id=message_id, session=session, seq=0))
        except NotFound:
            return Outcome(state="unknown")
        if ended is None:
            return Outcome(state="open")
        if isinstance(ended, ChatError):
            return Outcome(state="ended", text=ended.message, failed=True)
        return Outcome(state="ended", text=ended.text)


def _event(record: Record, accepted: Accepted) -> ChatDone | ChatError:
    data = record.data
    if record.type == kinds.ERROR:
        return ChatError(
            session=accepted.session, message_id=accepted.message_id, seq=record.seq, code=data["code"],
            message=data["message"], retryable=bool(data.get("retryable")),
        )  # fmt: skip
    usage = data.get("usage") or {}
    known = {name: usage[name] for name in Usage.__dataclass_fields__ if name in usage}
    return ChatDone(
        session=accepted.session, message_id=accepted.message_id, seq=record.seq, text=data["text"],
        finish_reason=data.get("finish_reason", "stop"), usage=Usage(**known),
        tool_calls=tuple(data.get("tool_calls") or ()), at=record.timestamp,
    )  # fmt: skip
