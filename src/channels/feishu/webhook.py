"""A call to Feishu's webhook, checked: time, signature, encryption, token, challenge. Pure.

Rules are Feishu's: the body is `{"encrypt"}`, base64 of IV and AES-256-CBC under
sha256(encrypt key); the signature is the hex SHA-256 of timestamp, nonce, encrypt
key and raw body; the plain text carries the verification token. Beyond what the
SDK does: a signature older than 5 minutes is refused, comparing takes constant time.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

MAX_BODY = 256 * 1024
MAX_CHALLENGE = 8 * 1024
MAX_AGE_SECONDS = 300.0
_BLOCK = 16


class NotGenuine(Exception):
    """The call is not from Feishu, or too old; the answer is 401."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The two secrets of the developer console."""

    encrypt_key: str
    verification_token: str


def claims(headers: Mapping[str, str], now: float) -> bool:
    """Before the body is read: whether the call claims to be signed, just now. Raises NotGenuine for an old time.

    Unsigned is only the challenge, with which Feishu tries the address.
    """
    if not headers.get("X-Lark-Signature"):
        return False
    try:
        age = abs(now - int(headers["X-Lark-Request-Timestamp"]))
    except (KeyError, ValueError, OverflowError):
        raise NotGenuine("no time") from None
    if age > MAX_AGE_SECONDS:
        raise NotGenuine("too old")
    return True


def read(headers: Mapping[str, str], body: bytes, keys: Keys, *, signed: bool) -> Object:
    """The plain call: an event, or a challenge with `type` `url_verification`. Raises NotGenuine."""
    if signed and not _signature_fits(headers, body, keys.encrypt_key):
        raise NotGenuine("signature")
    call = _decrypted(body, keys.encrypt_key)
    header = call.get("header")
    token = call.get("token") or (header.get("token") if isinstance(header, dict) else "") or ""
    if not hmac.compare_digest(_bytes(str(token)), keys.verification_token.encode()):
        raise NotGenuine("token")
    if not signed and call.get("type") != "url_verification":
        raise NotGenuine("unsigned")
    return call


def _signature_fits(headers: Mapping[str, str], body: bytes, key: str) -> bool:
    text = headers.get("X-Lark-Request-Timestamp", "") + headers.get("X-Lark-Request-Nonce", "") + key
    right = hashlib.sha256(_bytes(text) + body).hexdigest()
    given = headers.get("X-Lark-Signature", "").strip().lower()
    return hmac.compare_digest(_bytes(given), right.encode())


def _bytes(text: str) -> bytes:
    """Anybody writes a header, in whatever bytes."""
    return text.encode(errors="replace")


def _decrypted(body: bytes, key: str) -> Object:
    try:
        call = json.loads(decrypt(json.loads(body)["encrypt"], key))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotGenuine("encryption") from None
    if not isinstance(call, dict):
        raise NotGenuine("encryption")
    return call


def decrypt(text: str, key: str) -> bytes:
    """The plain bytes of an `encrypt` field. Raises ValueError."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = base64.b64decode(text)
    if len(data) < 2 * _BLOCK or len(data) % _BLOCK:
        raise ValueError("length")
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(data[:_BLOCK])).decryptor()
    plain = cipher.update(data[_BLOCK:]) + cipher.finalize()
    pad = plain[-1]
    if not 1 <= pad <= _BLOCK or plain[-pad:] != bytes([pad]) * pad:
        raise ValueError("padding")
    return plain[:-pad]
