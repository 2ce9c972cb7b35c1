"""Canonical JSON (RFC 8785), the hash of arguments, and the signature of a call.

Below is hashlib; above, both sides of the tunnel sign and check with it. It knows no frame and no key's origin.
"""

import base64
import hashlib
import hmac
import json
import math
import secrets
from typing import Any

import orjson

from bridge.errors import BadParameters

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 128
EMPTY_HASH = hashlib.sha256(b"{}").hexdigest()


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value.

    Raises BadParameters for what other JSON readers could not read back the same: integers beyond ±(2^53 − 1),
    NaN and infinities, lone surrogates, keys that aren't texts, nesting beyond 128 levels.
    """
    if _plain(value, 0):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except (orjson.JSONEncodeError, RecursionError) as error:
            raise BadParameters("arguments must be plain JSON") from error
    out: list[str] = []
    _write(value, out)
    try:
        return "".join(out).encode()
    except UnicodeEncodeError as error:
        raise BadParameters("text with half a character in it") from error


def _plain(value: Any, depth: int) -> bool:
    """Check `value`; False where the quick encoder would differ from RFC 8785 (floats, keys beyond ASCII)."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise BadParameters("an integer beyond 2^53 - 1 would not arrive as it is: send it as a text")
        return True
    if depth >= MAX_DEPTH:
        raise BadParameters("arguments are nested too deeply")
    if kind is dict:
        plain = True
        for key, item in value.items():
            if type(key) is not str:
                raise BadParameters("keys of arguments must be texts")
            if type(item) is not str and not _plain(item, depth + 1):
                plain = False
            if not key.isascii():
                plain = False
        return plain
    if kind is list or kind is tuple:
        plain = True
        for item in value:
            plain = _plain(item, depth + 1) and plain
        return plain
    if kind is float:
        _check_float(value)
        return False
    raise BadParameters("arguments must be plain JSON")


def _check_float(value: float) -> None:
    if not math.isfinite(value):
        raise BadParameters("NaN and infinity are no JSON")
    if value.is_integer() and MAX_SAFE_INTEGER < abs(value) < 1e21:
        # What a JSON reader makes of a longer integer: its digits are lost already.
        raise BadParameters("an integer beyond 2^53 - 1 would not arrive as it is: send it as a text")


def _write(value: Any, out: list[str]) -> None:
    if isinstance(value, dict):
        out.append("{")
        for index, key in enumerate(sorted(value, key=_utf16)):
            out.append("," if index else "")
            out.append(json.dumps(key, ensure_ascii=False))
            out.append(":")
            _write(value[key], out)
        out.append("}")
    elif isinstance(value, list | tuple):
        out.append("[")
        for index, item in enumerate(value):
            out.append("," if index else "")
            _write(item, out)
        out.append("]")
    elif isinstance(value, float):
        out.append(number(value))
    else:
        out.append(json.dumps(value, ensure_ascii=False))


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def number(value: float) -> str:
    """A finite float as ECMAScript writes it (`Number::toString`, RFC 8785 section 3.2.2.3)."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + number(-value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    sign = "+" if point > 0 else "-"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{tail}e{sign}{abs(point - 1)}"


def arguments_hash(arguments: Any) -> str:
    """Hex SHA-256 of the canonical JSON of a call's arguments; of `{}` where there are none."""
    return hashlib.sha256(canonical(arguments)).hexdigest() if arguments else EMPTY_HASH


def new_key() -> str:
    """A fresh signing key: 32 bytes, base64url without padding."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def decode_key(text: str) -> bytes:
    """The bytes of a signing key. Raises BadParameters."""
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, TypeError) as error:
        raise BadParameters("sign_key is not base64url") from error
    if len(key) != 32:
        raise BadParameters("sign_key has not 32 bytes")
    return key


def signature(
    key: bytes, call_id: str, bridge_id: str, request: dict[str, Any], control: dict[str, Any], hashed: str = ""
) -> str:
    """The `sig` of an `MCP_REQUEST`: lower-case hex HMAC-SHA256 over exactly the signed members that are there.

    `request` is the JSON-RPC request, `control` the envelope's `ctl`, `hashed` the hash of the arguments where it
    is known already. Raises BadParameters.
    """
    params = request.get("params") or {}
    name = params.get("name")
    if name is None:
        name = params.get("uri")
    members = {
        "actor": control.get("actor"),
        "arguments_sha256": hashed or arguments_hash(params.get("arguments")),
        "attempt": control.get("attempt"),
        "bridge_id": bridge_id,
        "deadline_ms": control.get("deadline_ms"),
        "epoch": control.get("epoch"),
        "id": call_id,
        "idempotency_key": control.get("idempotency_key"),
        "method": request.get("method"),
        "name": name,
    }
    if "confirm" in control or "answer" in control or None in members.values():
        members |= {"confirm": control.get("confirm"), "answer": control.get("answer")}
        members = {name: value for name, value in members.items() if value is not None}
    return hmac.digest(key, canonical(members), "sha256").hex()
