"""Roles and the scopes they hold; who may act on whom.

The table of the public contract, section 4. Scopes name what a token may do:
`chat`, `tools`, `tunnel`, `approve`, `read`, `metrics`, `admin`. Knows no token and no method.
"""

from collections.abc import Iterable

from bus.errors import BadParameters, Forbidden

SCOPES = frozenset({"chat", "tools", "tunnel", "approve", "read", "metrics", "admin"})
ROLES: dict[str, frozenset[str]] = {
    "owner": SCOPES,
    "admin": SCOPES,
    "user": frozenset({"chat", "tools", "tunnel", "approve"}),
    "service": frozenset({"chat", "tools"}),
    "viewer": frozenset({"read"}),
}
ADMINS = frozenset({"owner", "admin"})


def checked_role(role: str) -> str:
    """`role`, if there is one of this name. Raises BadParameters."""
    if role not in ROLES:
        raise BadParameters(f"a role is one of {', '.join(ROLES)}")
    return role


def stronger(one: str, other: str) -> str:
    """The one of two roles that may do more; `ROLES` has them in order."""
    return min(one, other, key=list(ROLES).index)


def scopes_of(role: str, wanted: Iterable[str] | None = None) -> frozenset[str]:
    """What a token of `role` holds: all of the role's scopes, or only those `wanted`.

    Raises BadParameters for an unknown scope, or one that the role does not hold.
    """
    held = ROLES[checked_role(role)]
    if wanted is None:
        return held
    chosen = frozenset(wanted)
    if not chosen:
        raise BadParameters("a token needs at least one scope")
    unknown = sorted(chosen - SCOPES)
    if unknown:
        raise BadParameters(f"unknown scope {unknown[0]!r}; there are {', '.join(sorted(SCOPES))}")
    beyond = sorted(chosen - held)
    if beyond:
        raise BadParameters(f"the role {role} does not hold the scope {beyond[0]}")
    return chosen


def may_grant(by_role: str, by_scopes: frozenset[str], role: str, scopes: frozenset[str]) -> None:
    """Refuse to hand out more than one has oneself. Raises Forbidden.

    Only an owner makes, changes or becomes an admin or owner; nobody passes on a scope that his own
    token lacks.
    """
    if role in ADMINS and by_role != "owner":
        raise Forbidden("only an owner may do this for an admin or owner")
    beyond = sorted(scopes - by_scopes)
    if beyond:
        raise Forbidden(f"your own token does not hold the scope {beyond[0]}")
