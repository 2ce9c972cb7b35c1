"""`GET /oauth/callback`: the operator's browser comes back from where he signed in for a cloud MCP server.

No credential is asked for: the answer counts only with the `state` that the gateway itself made, once (RFC 6749,
section 10.12). Nothing of the request is shown.
"""

from collections.abc import Callable

from aiohttp import web

from bus.errors import NotFound
from gateway.tools.cloud_oauth import CALLBACK

MOST_CHARS = 4096
Answered = Callable[[str, str, str | None], str | None]


class OAuthRoutes:
    """`answered(code, state, issuer)` gives the server's name, or None where nobody waits."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered

    def routes(self) -> list[web.RouteDef]:
        return [web.get(CALLBACK, self.callback)]

    async def callback(self, request: web.Request) -> web.Response:
        """Take the code. Raises NotFound for a state that nobody waits for."""
        code, state = request.query.get("code", ""), request.query.get("state", "")
        if not code or len(code) > MOST_CHARS or self._answered(code, state, request.query.get("iss")) is None:
            raise NotFound("nobody waits for this sign-in, or it was answered already")
        return web.Response(text="Signed in. You can close this page.", headers={"Cache-Control": "no-store"})
