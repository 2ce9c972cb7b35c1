"""The hash of a call's arguments, made once for those who need it one after the other: the guard, then the tunnel."""

from agent.ports.tools import ToolCall
from bridge.errors import BridgeError
from bridge.protocol import arguments_hash
from bus.errors import BadParameters
from bus.events import JsonObject


class _Last:
    """The call that was asked about last, mostly the one that is asked about now."""

    __slots__ = ("call", "hashed")

    def __init__(self) -> None:
        self.call: ToolCall | None = None
        self.hashed = ""


_last = _Last()


def hash_of(call: ToolCall) -> str:
    """Hex SHA-256 of the arguments' canonical JSON. Raises BridgeError for what is no plain JSON.

    A call's arguments are not changed once it is made, so the same object has the same hash.
    """
    if _last.call is not call:
        hashed = arguments_hash(call.arguments)
        _last.call, _last.hashed = call, hashed
    return _last.hashed


def check_signable(content: JsonObject | None) -> None:
    """What a person answers goes to the bridge signed: found out later, it would break the whole connection.

    Raises BadParameters for what is no plain JSON.
    """
    try:
        arguments_hash(content)
    except BridgeError as error:
        raise BadParameters(f"content: {error.message}") from error
