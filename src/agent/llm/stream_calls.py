"""Tool calls put together from their fragments.

Below `stream.py`. The reference server numbers calls with `index` and gives the id once. Others leave the index
out, give every call the index 0, send the id with each fragment, or give two calls one id (all seen in the wild).
"""

from typing import Any

import orjson

from agent.ports.models import RequestedCall
from bus.events import JsonObject

MAX_CALLS = 2_048
MAX_ARGUMENT_CHARS = 1_048_577
"""One more than what the executor takes, so that it can say that the arguments are too long."""
MAX_ALL_ARGUMENT_CHARS = 16 * 1024 * 1024


class _Call:
    __slots__ = ("chars", "id", "name", "parts")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.parts: list[str] = []
        self.chars = 0


class CallAssembler:
    """Takes the members of `delta.tool_calls`, gives the calls in the order they began."""

    __slots__ = ("_by_id", "_by_index", "_calls", "_chars")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._chars = 0

    def add(self, fragment: JsonObject) -> None:
        """One fragment. Anything of a wrong type in it is left out."""
        found = fragment.get("function")
        function: JsonObject = found if isinstance(found, dict) else {}
        given, named = fragment.get("id"), function.get("name")
        call_id = given if isinstance(given, str) else ""
        name = named if isinstance(named, str) else ""
        call = self._find(fragment.get("index"), call_id, name)
        if call is None:
            return
        if call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = call
        if name and name != call.name:
            call.name = (call.name + name)[:256]
        self._append(call, function.get("arguments"))

    def _find(self, index: Any, call_id: str, name: str) -> _Call | None:
        if isinstance(index, int):
            call = self._by_index.get(index)
            # The index 0 for every call: another id together with a name begins another call.
            if call is not None and not (call_id and name and call.id and call_id != call.id):
                return call
        elif call_id:
            call = self._by_id.get(call_id)
            if call is not None and not (name and _is_whole(call)):
                return call
        elif self._calls and not (name and _is_whole(self._calls[-1])):
            return self._calls[-1]
        if len(self._calls) >= MAX_CALLS:
            return None
        call = _Call()
        self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _append(self, call: _Call, arguments: Any) -> None:
        if isinstance(arguments, (dict, list)):
            arguments = orjson.dumps(arguments).decode()
        if not isinstance(arguments, str) or not arguments:
            return
        room = min(MAX_ARGUMENT_CHARS - call.chars, MAX_ALL_ARGUMENT_CHARS - self._chars)
        piece = arguments[: max(room, 0)]
        if piece:
            call.parts.append(piece)
            call.chars += len(piece)
            self._chars += len(piece)

    @property
    def written(self) -> str:
        """All that the model wrote of calls so far, whole or not."""
        return "".join(piece for call in self._calls for piece in (call.name, *call.parts))

    def calls(self) -> tuple[RequestedCall, ...]:
        """The calls, each with an id of its own. A call without a name keeps the empty one."""
        taken: set[str] = set()
        out = []
        for number, call in enumerate(self._calls):
            wanted = call.id or f"call_{number}"
            unique, copy = wanted, 2
            while unique in taken:
                unique, copy = f"{wanted}-{copy}", copy + 1
            taken.add(unique)
            out.append(RequestedCall(call_id=unique, name=call.name, arguments="".join(call.parts) or "{}"))
        return tuple(out)


def _is_whole(call: _Call) -> bool:
    """Whether the arguments so far are a JSON document: then a name begins another call."""
    if not call.parts or call.parts[-1].rstrip()[-1:] not in ("", "}", "]"):
        return False  # tried for each piece that brings a name: most can be told without reading all of it
    try:
        orjson.loads("".join(call.parts))
    except ValueError:
        return False
    return True
