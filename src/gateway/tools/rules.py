"""The operator's own policy: which tools which people may have, and with which they are asked first (`tools.rules`).

Above is the guard, on every path to a tool; below is nothing. A rule makes a tool's policy stricter, never laxer, and
of several that fit the strictest holds. A tool about which its bridge asks anyway is not asked about twice.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from agent.ports.tools import Policy, ToolSpec
from agent.settings import ToolRule
from bridge.policy import strictest
from bus.events import Actor
from gateway.tools.guard import Rule


def rule_of(entries: Sequence[ToolRule]) -> Rule:
    """All entries as the one rule that the guard asks."""

    def rule(actor: Actor, spec: ToolSpec) -> Policy:
        return strictest("allow", *(entry.policy for entry in entries if fits(entry, actor, spec)))

    return rule


def fits(entry: ToolRule, actor: Actor, spec: ToolSpec) -> bool:
    """Whether an entry speaks of this person and this tool; what it does not name means everybody."""
    if entry.roles and actor.role not in entry.roles:
        return False
    if entry.users and actor.user not in entry.users:
        return False
    return any(fnmatchcase(spec.name, pattern) for pattern in entry.tools)
