"""The method table: name, who may call it, what it takes, who does it.

Used alike by WebSocket, `POST /api/v1/rpc`, the command line on a stopped gateway and
`rpc.discover`, which is generated from it. Order of refusals: not authenticated, method unknown,
forbidden, and only then are the params looked at.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from bus.errors import NotAuthenticated
from bus.events import JsonObject
from gateway.auth import Principal, require
from gateway.handlers.call import Call, Params
from gateway.protocol import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError

Run = Callable[[Call, Any], Awaitable[JsonObject]]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table. `scopes`: any one of them lets in, none means everyone authenticated; `open`: no login."""

    name: str
    scopes: frozenset[str]
    params: type[Params]
    run: Run
    open: bool = False
    summary: str = ""


def method(
    name: str, scopes: str, params: type[Params], run: Run, *, open_to_all: bool = False, summary: str = ""
) -> Method:
    """A row; `scopes` are words with blanks between."""
    return Method(name, frozenset(scopes.split()), params, run, open_to_all, summary or (run.__doc__ or "").strip())


class Dispatcher:
    """Calls methods by name. `recheck` raises where a principal's token is worth nothing any more."""

    def __init__(self, methods: Iterable[Method], recheck: Callable[[Principal], None]) -> None:
        self.methods: dict[str, Method] = {}
        for row in methods:
            if row.name in self.methods:
                raise ValueError(f"two methods are called {row.name}")
            self.methods[row.name] = row
        self._recheck = recheck

    async def call(self, name: str, params: JsonObject | list[Any], call: Call) -> JsonObject:
        """Do it. Raises GatewayError, or RpcError for an unknown method and bad params."""
        row = self.methods.get(name)
        if call.principal is None and not (row is not None and row.open):
            raise NotAuthenticated("authenticate first")
        if row is None:
            raise RpcError(METHOD_NOT_FOUND, "there is no such method")
        if call.principal is not None:
            self._recheck(call.principal)
            require(call.principal, row.scopes)
        return await self.perform(row, params, call)

    async def perform(self, row: Method, params: JsonObject | list[Any], call: Call) -> JsonObject:
        """The same for a caller whose right was established elsewhere."""
        return await row.run(call, validated(row.params, params))


def validated(model: type[Params], params: JsonObject | list[Any]) -> Params:
    """The params as `model`; positional ones by the order of its fields. Raises RpcError (-32602)."""
    if isinstance(params, list):
        names = list(model.model_fields)
        if len(params) > len(names):
            raise RpcError(INVALID_PARAMS, f"at most {len(names)} params")
        params = dict(zip(names, params, strict=False))
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise RpcError(INVALID_PARAMS, _explain(error)) from None


def _explain(error: ValidationError) -> str:
    """What is wrong with each param, without the values."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        where = ".".join(str(part) for part in problem["loc"])[:100]
        what = "unknown" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"{where}: {what}" if where else what)
    return "; ".join(lines)


@cache
def _schema(model: type[Params]) -> JsonObject:
    return model.model_json_schema()


def describe(methods: Mapping[str, Method], version: str) -> JsonObject:
    """The OpenRPC document (https://spec.open-rpc.org, 1.3) of the table."""
    return {
        "openrpc": "1.3.2",
        "info": {"title": "gateway", "version": version},
        "methods": [_describe(row) for row in methods.values()],
    }


def _describe(row: Method) -> JsonObject:
    schema = _schema(row.params)
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs")
    params = [
        {"name": name, "required": name in required, "schema": part | ({"$defs": definitions} if definitions else {})}
        for name, part in schema.get("properties", {}).items()
    ]
    return {
        "name": row.name, "summary": row.summary, "paramStructure": "either", "params": params,
        "result": {"name": "result", "schema": {"type": "object"}}, "x-scopes": sorted(row.scopes), "x-open": row.open,
    }  # fmt: skip
