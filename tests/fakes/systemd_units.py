"""A reader of unit files as systemd.syntax(7), systemd.unit(5) and systemd.service(5) describe it.

Stricter than systemd, which warns of an unknown setting and goes on: here it is an error. Knows the settings that our
units use, with the values that are allowed for each, no others.
"""

import re
from typing import TypeAlias

Unit: TypeAlias = dict[str, dict[str, list[str]]]

_ANY, _YES_NO = r".+", r"yes|no|true|false|on|off|1|0"
_SETTINGS = {
    "Unit": {"Description": _ANY, "After": r"[\w@.-]+\.(target|service)", "StartLimitIntervalSec": r"\d+"},
    "Service": {
        "Type": "simple|exec|forking|oneshot|dbus|notify|notify-reload|idle",
        "ExecStart": r"[\"/].*", "Environment": _ANY,
        "Restart": "no|on-success|on-failure|on-abnormal|on-watchdog|on-abort|always", "RestartSec": r"\d+",
        "RestartPreventExitStatus": r"\d+( \d+)*", "KillMode": "control-group|mixed|process|none",
        "TimeoutStopSec": r"\d+", "NoNewPrivileges": _YES_NO, "RestrictSUIDSGID": _YES_NO,
        "RestrictRealtime": _YES_NO, "LockPersonality": _YES_NO, "SystemCallArchitectures": "native",
        "RestrictAddressFamilies": r"~?AF_[A-Z0-9]+( AF_[A-Z0-9]+)*", "UMask": r"0[0-7]{3}", "LimitCORE": r"\d+",
    },
    "Install": {"WantedBy": r"[\w@.-]+\.target"},
}  # fmt: skip
_ESCAPES = dict(zip("ntrabfvs\\\"'", "\n\t\r\a\b\f\v \\\"'", strict=True))


class NotAUnit(ValueError):
    """systemd would refuse this, or warn and leave it out."""


def read_unit(text: str) -> Unit:
    """Section to setting to its values in order. Raises NotAUnit."""
    unit: Unit = {}
    section = ""
    for line in text.split("\n"):
        if not line.strip() or line[0] in "#;":
            continue
        if line.startswith("["):
            section = line.strip()[1:-1]
            if section not in _SETTINGS:
                raise NotAUnit(line)
            unit.setdefault(section, {})
            continue
        name, equals, value = (part.strip(" \t") for part in line.partition("="))
        allowed = _SETTINGS.get(section, {}).get(name)
        if not equals or allowed is None or not re.fullmatch(allowed, value):
            raise NotAUnit(line)
        unit[section].setdefault(name, []).append(value)
    return unit


def commands(lines: list[str]) -> list[list[str]]:
    """The words of each `ExecStart`: quotes, escapes, specifiers and `$$` undone."""
    return [[_literal(word) for word in _words(line)] for line in lines]


def environment(lines: list[str]) -> dict[str, str]:
    """Name to value of all `Environment` settings; `$` means nothing in them."""
    pairs = [word.partition("=") for line in lines for word in _words(line)]
    return {name: value for name, _, value in pairs}


def _literal(word: str) -> str:
    if re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word):
        raise NotAUnit(f"a variable: {word}")
    return word.replace("$$", "$")


def _words(line: str) -> list[str]:
    words: list[str] = []
    while line := line.lstrip(" \t\n\r"):
        quote = line[0] if line[0] in "\"'" else ""
        found = re.match(rf"{quote}((?:\\.|[^\\{quote or chr(32)}])*){quote}(?:\s|$)", line, re.DOTALL)
        if found is None:
            raise NotAUnit(f"quotes: {line}")
        words.append(_specifiers(re.sub(r"\\(x[0-9a-fA-F]{2}|.)", _escape, found[1], flags=re.DOTALL)))
        line = line[found.end() :]
    return words


def _escape(found: re.Match[str]) -> str:
    if len(found[1]) == 3:
        return chr(int(found[1][1:], 16))
    if found[1] not in _ESCAPES:
        raise NotAUnit(f"an unknown escape: {found[0]}")
    return _ESCAPES[found[1]]


def _specifiers(word: str) -> str:
    if re.search(r"%(?!%)", word.replace("%%", "")):
        raise NotAUnit(f"a specifier: {word}")
    return word.replace("%%", "%")
