"""What follows when a token or a user is no longer welcome: sockets, bridges and turns end at once."""

import logging

from bus.errors import GatewayError
from gateway.handlers.moves import Owned
from gateway.handlers.ports import Bridges, LiveSockets, Turns
from gateway.identity.tokens import Tokens
from gateway.started import StartedTurns

log = logging.getLogger("gateway.identity")


class LettingGo:
    """Closes sockets (4501), unregisters bridges, stops turns."""

    def __init__(
        self, *, tokens: Tokens, sockets: LiveSockets, started: StartedTurns, turns: Turns, sessions: Owned,
        bridges: Bridges | None,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._sockets = sockets
        self._started = started
        self._turns = turns
        self._sessions = sessions
        self._bridges = bridges

    async def token(self, token_id: str, user: str | None = None) -> None:
        """This token is worth nothing any more."""
        self._sockets.close_token(token_id)
        if self._bridges is not None:
            await self._bridges.token_gone(token_id)
        for message_id, who in self._started.of(token_id):
            try:
                await self._turns.abort(user=user or who, message_id=message_id)
            except GatewayError as error:
                log.info("a turn of a revoked token had ended already: %s", error.message)

    def later(self, token_id: str) -> None:
        """The same without waiting: for the token that the reply itself still needs."""
        self._sockets.spawn(self.token(token_id))

    async def user(self, user: str) -> None:
        """This user is gone: all of his tokens are."""
        for token in self._tokens.of_user(user):
            if token.kind != "static":
                self._tokens.revoke(token.token_id)
            await self.token(token.token_id, user)
        self._sockets.close_user(user)
        for key in await self._sessions.owned_by(user):
            if self._turns.running(key) is not None:
                await self._turns.abort(user=user, key=key)
