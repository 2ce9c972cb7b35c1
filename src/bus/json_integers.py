"""JSON whose integers stay integers: orjson reads those beyond 64 bits as fractions, without a word.

Used where another program acts on the number: arguments of tools. Above are the gateway's protocol and the agent's
tools; it knows nothing of either.
"""

import json
import re
from typing import Any

import orjson

_LONG_BYTES = re.compile(rb"[0-9]{19}")
_LONG_TEXT = re.compile(r"[0-9]{19}")


def loads_exactly(text: str | bytes) -> Any:
    """The JSON value of `text`. Raises ValueError where it is none, as RFC 8259 has it."""
    found = orjson.loads(text)
    if (_LONG_TEXT.search(text) if isinstance(text, str) else _LONG_BYTES.search(text)) is None:
        return found
    try:
        return json.loads(text)
    except RecursionError:
        return found
