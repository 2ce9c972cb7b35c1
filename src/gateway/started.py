"""Which turns a token has started and that still run: they stop when the token is revoked."""

from bus.events import TERMINAL, Accepted, Event


class StartedTurns:
    """Turns under way by token. `ended` is attached to the bus's events."""

    def __init__(self) -> None:
        self._turns: dict[str, tuple[str, str]] = {}
        self._early: dict[str, None] = {}

    def note(self, token_id: str, user: str, accepted: Accepted) -> None:
        """This message of `user` came with this token."""
        if accepted.message_id in self._early:
            del self._early[accepted.message_id]
        else:
            self._turns[accepted.message_id] = (token_id, user)

    def ended(self, event: Event) -> None:
        """Forget the turn that this event ends."""
        if isinstance(event, TERMINAL) and self._turns.pop(event.message_id, None) is None:
            self._early[event.message_id] = None
            if len(self._early) > 1000:
                del self._early[next(iter(self._early))]

    def of(self, token_id: str) -> list[tuple[str, str]]:
        """Message and user of this token's turns that still run."""
        return [(message_id, user) for message_id, (token, user) in self._turns.items() if token == token_id]
