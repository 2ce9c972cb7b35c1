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
MAX_LOOK_CHARS = 65_536
"""Longer arguments are not parsed in mid stream: with a name in each fragment that would be done for each of them."""


class _Call:
    __slots__ = ("chars", "id", "index", "name", "parts")

    def __init__(self, index: Any) -> None:
        self.index = index
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
        arguments = function.get("arguments")
        call = self._find(fragment.get("index"), call_id, name, begins=bool(name) and _says_something(arguments))
        if call is None:
            return
        if call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = call
        if name and name != call.name:
            call.name = (call.name + name)[:256]
        self._append(call, arguments)

    def _find(self, index: Any, call_id: str, name: str, *, begins: bool) -> _Call | None:
        """The call that a fragment belongs to; `begins`: it has all that a call begins with."""
        if isinstance(index, int):
            call = self._by_index.get(index)
            # The index 0 for every call: another id together with a name begins another call, and so does a name
            # with arguments behind a call whose own are whole.
            other = call is not None and bool(call_id and name and call.id and call_id != call.id)
            if call is not None and not other and not (begins and _is_whole(call)):
                return call
        elif call_id:
            call = self._by_id.get(call_id)
            if call is not None and not (name and _is_whole(call)):
                return call
        elif self._calls and not (name and _is_whole(self._calls[-1])):
            return self._calls[-1]
        if len(self._calls) >= MAX_CALLS:
            return None
        call = _Call(index)
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
        """The calls, each with an id of its own. A call without a name keeps the empty one.

        The same call under the same index and id is one: some servers send what they streamed once more as a whole.
        """
        taken: set[str] = set()
        told: set[tuple[object, ...]] = set()
        out = []
        for number, call in enumerate(self._calls):
            arguments = "".join(call.parts) or "{}"
            whole = (str(call.index), call.id, call.name, arguments)
            if call.id and whole in told:
                continue
            told.add(whole)
            wanted = call.id or f"call_{number}"
            unique, copy = wanted, 2
            while unique in taken:
                unique, copy = f"{wanted}-{copy}", copy + 1
            taken.add(unique)
            out.append(RequestedCall(call_id=unique, name=call.name, arguments=arguments))
        return tuple(out)


def _says_something(arguments: Any) -> bool:
    return bool(arguments.strip() if isinstance(arguments, str) else arguments)


def _is_whole(call: _Call) -> bool:
    """Whether the arguments so far are a JSON document: then a name begins another call."""
    if not call.parts or call.chars > MAX_LOOK_CHARS:
        return False
    if call.parts[-1].rstrip()[-1:] not in ("}", "]", "l", ""):  # an object, a list, null
        return False
    try:
        orjson.loads("".join(call.parts))
    except ValueError:
        return False
    return True
