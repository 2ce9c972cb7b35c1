"""`connect`, `health`, `rpc.discover`, `delivery.*`, `audit.tail`: the house itself."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from bus.errors import NotFound
from bus.events import JsonObject
from gateway import __version__
from gateway.auth import Authenticator
from gateway.handlers.call import Call, Nothing, Params
from gateway.handlers.dispatch import Dispatcher, Method, describe, method
from gateway.handlers.ports import Audit, Deliveries
from gateway.protocol import INVALID_REQUEST, RpcError

PROTOCOL = 1


class Resend(Params):
    delivery_id: Annotated[str, Field(min_length=1, max_length=256)]


class Tail(Params):
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


class Connect(Params):
    token: Any = None


class HouseMethods:
    """The family. `ready` says whether messages are taken in; `limits` are told to who connects."""

    def __init__(
        self, *, authenticator: Authenticator, deliveries: Deliveries | None, audit: Audit | None,
        ready: Callable[[], bool], limits: JsonObject,
    ) -> None:  # fmt: skip
        self._authenticator = authenticator
        self._limits = limits
        self._deliveries = deliveries
        self._audit = audit
        self._ready = ready
        self._since = time.monotonic()
        self._dispatcher: Dispatcher | None = None

    def knows(self, dispatcher: Dispatcher) -> None:
        """The table that `rpc.discover` describes."""
        self._dispatcher = dispatcher

    @property
    def uptime(self) -> int:
        """Seconds since the start."""
        return int(time.monotonic() - self._since)

    def table(self) -> list[Method]:
        return [
            method("connect", "", Connect, self.connect, open_to_all=True),
            method("health", "", Nothing, self.health, open_to_all=True),
            method("rpc.discover", "", Nothing, self.discover),
            method("delivery.list", "admin", Nothing, self.deliveries),
            method("delivery.resend", "admin", Resend, self.resend),
            method("audit.tail", "admin", Tail, self.tail),
        ]

    async def connect(self, call: Call, params: Connect) -> JsonObject:
        """Say who you are; on an authenticated connection, only as the same user."""
        principal = call.principal
        if principal is None or "token" in params.model_fields_set:
            principal = self._authenticator.token(params.token)
            if call.principal is not None and call.principal.user != principal.user:
                raise RpcError(INVALID_REQUEST, "this connection is another user's")
            if call.login is not None:
                call.login(principal)
        return {
            "protocol": PROTOCOL, "user": principal.user, "role": principal.role, "scopes": sorted(principal.scopes),
            "limits": self._limits, "server": {"name": "gateway", "version": __version__},
        }  # fmt: skip

    async def health(self, call: Call, params: Nothing) -> JsonObject:
        """Whether the gateway is well."""
        out: JsonObject = {"status": "ok" if self._ready() else "draining"}
        if call.principal is not None:
            out |= {"version": __version__, "uptime_seconds": self.uptime}
        return out

    async def discover(self, call: Call, params: Nothing) -> JsonObject:
        """This document."""
        assert self._dispatcher is not None
        return describe(self._dispatcher.methods, __version__)

    async def deliveries(self, call: Call, params: Nothing) -> JsonObject:
        """What a platform refused, or may or may not have got."""
        return {"deliveries": list(await self._deliveries.list_deliveries()) if self._deliveries else []}

    async def resend(self, call: Call, params: Resend) -> JsonObject:
        """Try a delivery once more."""
        if self._deliveries is None:
            raise NotFound("no such delivery")
        return {"resent": await self._deliveries.resend(params.delivery_id)}

    async def tail(self, call: Call, params: Tail) -> JsonObject:
        """The last records of the audit log."""
        return {"records": list(await self._audit.tail(params.limit)) if self._audit else []}
