"""JSON as it goes out to clients.

Above are the sockets, the HTTP routes and the packets; below orjson, and the standard library for what
orjson refuses. A tool's or a model's numbers and characters may be such.
"""

import json
import math
from typing import Any

import orjson

UNWRITABLE = (TypeError, ValueError, RecursionError)
"""What `dumps` raises for what is no JSON, or nested too deeply for the writer."""


def dumps(value: Any) -> bytes:
    """JSON. Falls back to the slower writer for integers beyond 64 bits and unpaired surrogates.

    What is no number is null, as both write it. Raises UNWRITABLE.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=True, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_numbers(value), ensure_ascii=True).encode()


def _numbers(value: Any) -> Any:
    """`value` without NaN and infinities."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
