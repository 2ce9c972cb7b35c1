"""May this call run: allow, ask or deny, and why.

Pure: settings, a tool's name and its arguments go in, a verdict with its reason comes out. `calls.py` on the
bridge and the gateway's guard stand above and act on it; nothing is below but the settings' rules. What an MCP
server says about itself (`annotations`) is not known here, on purpose: it is the server's own claim.

Lists of dangerous words are no barrier against a clever text (`r""m`); the barrier is that what is not allowed
is asked. The words only take back an allowance that was meant for harmless calls.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from bridge.settings import PolicyName, ToolRule, ToolSettings

Resolve: TypeAlias = Callable[[str], str]
"""Where a path really leads; `os.path.realpath`, which also follows a link to a file that isn't there yet."""

DANGEROUS = frozenset({"rm", "rmdir", "unlink", "delete", "drop", "truncate", "format", "shutdown", "kill"})
_SPEAKS_OF = ("shell", "exec", "command", "sql", "query")
_LETTERS = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHELL = frozenset(";|&$<>`()\n\r\"'\\{}*?[]~#!")
_WILDCARDS = str.maketrans("", "", "*?[]")
_RANK: dict[PolicyName, int] = {"allow": 0, "ask": 1, "deny": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is for people. `dangerous` is the word that made it `ask`, which no grant covers."""

    policy: PolicyName
    reason: str
    dangerous: str | None = None


def strictest(*policies: PolicyName) -> PolicyName:
    """The strictest of them: deny before ask before allow."""
    return max(policies, key=lambda name: _RANK[name], default="allow")


def words(text: str) -> Iterator[str]:
    """The words of a text, lower-case: parted by anything but letters, as they stand and within camelCase."""
    for match in _LETTERS.finditer(text):
        yield match[0].lower()
    for match in _WORD.finditer(text):
        yield match[0].lower()


@lru_cache(maxsize=4096)
def _name(name: str) -> tuple[str | None, bool]:
    """The dangerous word in a tool's name, and whether the name speaks of commands.

    Asked for each call and each tool of a listing, of names that stay the same.
    """
    lowered = name.lower()
    found = next((word for word in words(name) if word in DANGEROUS), None)
    return found, any(word in lowered for word in _SPEAKS_OF)


def dangerous_word(name: str, arguments: Any) -> str | None:
    """The dangerous word in a tool's name, or in what a tool is told that speaks of shells, commands or queries."""
    found, commands = _name(name)
    if found is not None:
        return found
    if commands:
        for text in strings(arguments):
            for word in words(text):
                if word in DANGEROUS:
                    return word
    return None


@lru_cache(maxsize=4096)
def speaks_of_commands(name: str) -> bool:
    """Whether a tool's name says that its arguments are commands: shell, exec, command, sql, query."""
    return _name(name)[1]


def strings(value: Any) -> Iterator[str]:
    """Every string value in `value`, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def decide(
    rules: ToolSettings, default: PolicyName, public_name: str, own_name: str, arguments: dict[str, Any],
    *, resolve: Resolve = os.path.realpath,
) -> Verdict:  # fmt: skip
    """What the person's rules say about one call.

    `own_name` is the name the server gave, which the rules speak of; `public_name` the prefixed one. Where
    several lists match, the strictest wins; where none does, `default` holds.
    """
    verdict = _by_rules(rules, default, own_name, arguments, resolve)
    if verdict.policy == "deny":
        return verdict
    # Where the rules ask already, the word still counts: what was allowed for longer does not cover it.
    word = dangerous_word(own_name, arguments) or dangerous_word(public_name, arguments)
    return verdict if word is None else Verdict("ask", f"'{word}' is a dangerous word", word)


def unconditional(rules: ToolSettings, default: PolicyName, public_name: str, own_name: str) -> Verdict | None:
    """The verdict on every call of a tool; None where the arguments have a say in it: then `decide` for each."""
    for rule in (*rules.deny, *rules.ask, *rules.allow):
        if (rule.arguments or rule.paths) and named(own_name, rule.tool):
            return None
    if speaks_of_commands(own_name) or speaks_of_commands(public_name):
        return None
    return decide(rules, default, public_name, own_name, {})


def standing(rules: ToolSettings, default: PolicyName, public_name: str, own_name: str) -> PolicyName:
    """The policy of a tool as the catalogue shows it, before any argument is known.

    Rules on arguments don't make a tool allowed or denied as a whole, only `ask`.
    """
    if any(not (r.arguments or r.paths) and named(own_name, r.tool) for r in rules.deny):
        return "deny"
    conditional = any((r.arguments or r.paths) and named(own_name, r.tool) for r in (*rules.deny, *rules.ask))
    plain = ToolSettings(
        allow=tuple(r for r in rules.allow if not (r.arguments or r.paths)),
        ask=tuple(r for r in rules.ask if not (r.arguments or r.paths)),
    )
    policy = decide(plain, default, public_name, own_name, {}).policy
    return strictest(policy, "ask") if conditional else policy


@lru_cache(maxsize=8192)
def named(name: str, pattern: str) -> bool:
    """Whether a tool's own name matches a pattern of the person's, however either composes its accents."""
    return fnmatchcase(_composed(name), _composed(pattern))


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def idempotent(rules: ToolSettings, own_name: str) -> bool:
    """Whether the person said that running this tool twice does no harm. The server's word does not count."""
    return _matches_one(rules.idempotent, own_name)


@lru_cache(maxsize=4096)
def _matches_one(patterns: tuple[str, ...], name: str) -> bool:
    """Asked for each call, of patterns and names that stay the same."""
    return any(named(name, pattern) for pattern in patterns)


def _by_rules(
    rules: ToolSettings, default: PolicyName, name: str, arguments: dict[str, Any], resolve: Resolve
) -> Verdict:
    for rule in rules.deny:
        if _matches(rule, name, arguments, resolve, every=False):
            return Verdict("deny", f"denied by the rule '{rule.tool}'")
    for rule in rules.deny:
        if rule.paths and _matches(rule, name, arguments, resolve, every=False, unsure=True):
            return Verdict("ask", f"a relative path may lead to what the rule '{rule.tool}' denies")
    for rule in rules.ask:
        if _matches(rule, name, arguments, resolve, every=False, unsure=True):
            return Verdict("ask", f"asked by the rule '{rule.tool}'")
    for rule in rules.allow:
        if _matches(rule, name, arguments, resolve, every=True):
            return Verdict("allow", f"allowed by the rule '{rule.tool}'")
    return Verdict(default, "no rule names this tool")


def _matches(
    rule: ToolRule, name: str, arguments: dict[str, Any], resolve: Resolve, *, every: bool, unsure: bool = False
) -> bool:
    """Whether `rule` speaks of this call. An allowance must hold for every value, a refusal for any.

    With `unsure`, also where nobody here can know.
    """
    if not named(name, rule.tool):
        return False
    strict = every and speaks_of_commands(name)
    for path, pattern in rule.arguments.items():
        values = list(_values(arguments, path))
        found = [_text_matches(value, pattern, every=every, shell=strict) for value in values]
        if not found or not (all(found) if every else any(found)):
            return False
    for path, folders in rule.paths.items():
        values = list(_values(arguments, path))
        found = [_beneath(value, folders, resolve, every=every, unsure=unsure) for value in values]
        if not found or not (all(found) if every else any(found)):
            return False
    return True


def _values(arguments: Any, path: str) -> Iterator[Any]:
    """The values at a dotted path; a list stands for each of its members.

    Both readings of a name with dots count: which one the server takes is not known here, and an argument that it
    does not know must not stand before the one that it does.
    """
    if isinstance(arguments, list):
        for item in arguments:
            yield from _values(item, path)
    elif isinstance(arguments, dict):
        if path in arguments:
            yield from _leaves(arguments[path])
        names = path.split(".")
        for at in range(1, len(names)):
            head = ".".join(names[:at])
            if head in arguments:
                yield from _values(arguments[head], ".".join(names[at:]))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value


def _text_matches(value: Any, pattern: str, *, every: bool, shell: bool) -> bool:
    text = value if isinstance(value, str) else json.dumps(value)
    if every:
        literal = pattern.translate(_WILDCARDS)
        # A wildcard was written with ordinary words in mind: it stands neither for a way up the tree
        # nor for what a shell would read as another command.
        if ".." in text.split("/") and ".." not in pattern.split("/"):
            return False
        if shell and any(char in _SHELL and char not in literal for char in text):
            return False
        if any(char in "\x00\n\r" and char not in literal for char in text):
            return False
        return fnmatchcase(text, pattern)
    return fnmatchcase(text, pattern) or fnmatchcase(_alike(text), _alike(pattern))


def _beneath(value: Any, folders: tuple[str, ...], resolve: Resolve, *, every: bool, unsure: bool) -> bool:
    if not isinstance(value, str):
        return False
    if "\x00" in value:
        return not every  # some would read it as what comes before: no allowance covers it, and no refusal lets it by
    if every and not Path(value).is_absolute():
        return False  # what a relative path or `~` means is the server's business: not known here
    if value[:5].lower() == "file:":
        value = unquote(urlsplit(value).path)
    try:
        path = Path(value).expanduser()
        if unsure and not path.is_absolute():
            return True
        real = resolve(str(path))
        places = [resolve(str(Path(folder).expanduser())) for folder in folders]
        if every:
            return any(is_beneath(real, place) for place in places)
        return any(is_beneath(_alike(real), _alike(place)) for place in places)
    except (OSError, ValueError, RuntimeError):
        return not every


def _alike(text: str) -> str:
    """What a refusal compares: the same for all that some file system takes for one name."""
    composed = _composed(text)
    return composed.casefold() if sys.platform in ("darwin", "win32") else composed


def is_beneath(path: str, folder: str) -> bool:
    """Whether a resolved path is `folder` or lies in it: `/data_x` does not lie in `/data`."""
    base = folder.rstrip(os.sep) or os.sep
    return path == base or path.startswith(base if base == os.sep else base + os.sep)
