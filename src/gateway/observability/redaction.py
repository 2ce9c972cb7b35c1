"""What may not stand in a log line, taken out. Pure.

The first line of defence is `SecretStr`, which never prints itself. Here is the second:
every secret the configuration holds is known by its value and replaced wherever it
shows up (an SDK's debug line, the URL of a failed request), and so is what looks like a
credential. Control characters, which could forge or hide lines, are escaped.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

MASK = "***"
MIN_SECRET_CHARS = 6
"""Shorter values would blacken ordinary words."""

_SHAPES = re.compile(
    r"(?P<bearer>\b(?:Bearer|Basic|Bot)\s+)[\w.~+/=:-]{6,}"
    r"|(?P<named>(?:api[_-]?key|token|secret|password|passwd|authorization|cookie)[\"']?\s*[=:]\s*[\"']?)"
    r"(?:(?:Bearer|Basic|Bot)\s+)?(?!\*\*\*)[^\s\"'&,;{}\[\]()<>]{6,}"
    r"|(?P<bot>/bot)\d+:[\w-]{10,}"
    r"|(?P<telegram>)\b\d{6,}:[\w-]{30,}\b"
    r"|(?P<key>\bsk-)[\w-]{6,}"
    r"|(?P<ours>\bgw_[a-z0-9]{4,}\.)[\w-]{16,}"
    r"|(?P<code>#login=)[\w-]{4,}"
    r"|(?P<query>[?&](?:key|auth|signature|sig)=)(?!\*\*\*)[^\s\"'&#]{6,}"
    r"|(?P<userinfo>://[^\s/:@]*:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SECRET_NAME = re.compile(r"key$|token|secret|password|credential|authorization|cookie", re.IGNORECASE)


def escape_controls(text: str) -> str:
    """`text` on one line: control, line separator, direction and surrogate characters as `\\x1b`, `\\u202e`."""
    return _CONTROL.sub(lambda found: _escaped(found.group()), text)


def _escaped(character: str) -> str:
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    number = ord(character)
    return known or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


class Redactor:
    """Replaces known secrets and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: re.Pattern[str] | None = None
        self._values: set[str] = set()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Remember values that must not be shown."""
        self._values |= {value for value in secrets if len(value) >= MIN_SECRET_CHARS}
        if self._values:
            longest_first = sorted(self._values, key=lambda value: (-len(value), value))
            self._known = re.compile("|".join(re.escape(value) for value in longest_first))

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _SHAPES.sub(_masked, text)

    def value(self, name: str, value: Any, depth: int = 0) -> Any:
        """A field of a record: masked whole where its name says so, inside where it is a text or holds some."""
        if isinstance(value, bool | int | float) or value is None:
            return value
        if _SECRET_NAME.search(name):
            return MASK
        if isinstance(value, Mapping) and depth < 4:
            return {str(key): self.value(str(key), inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple) and depth < 4:
            return [self.value("", inner, depth + 1) for inner in value]
        return self.text(value if isinstance(value, str) else str(value))


def _masked(found: re.Match[str]) -> str:
    kept = next((group for group in found.groups() if group is not None), "")
    return kept + MASK


def secrets_of(settings: Any) -> Iterable[str]:
    """Every `SecretStr` anywhere in `settings`."""
    if isinstance(settings, SecretStr):
        yield settings.get_secret_value()
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from secrets_of(getattr(settings, name))
        yield from secrets_of(settings.__pydantic_extra__ or {})
    elif isinstance(settings, Mapping):
        for inner in settings.values():
            yield from secrets_of(inner)
    elif isinstance(settings, list | tuple):
        for inner in settings:
            yield from secrets_of(inner)
