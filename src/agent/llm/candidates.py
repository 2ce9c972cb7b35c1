"""Which model is asked, and which after it. Pure: decided on settings, the request and what is known of each.

Below `fallback.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.llm.tokens import estimate_messages, estimate_tools
from agent.ports.models import ModelRequest
from agent.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Known:
    """An entry, and whether it should rest (its breaker is open, or it told us to come later)."""

    settings: ModelSettings
    resting: bool = False


def order(entries: Sequence[Known], request: ModelRequest) -> list[int]:
    """The places of the entries that can do the task, the best first; the others are missing.

    The one that was asked for by name, then the cheapest tier from `request.tier` upwards, then the tiers below it
    from the top (a weaker answer is better than none). Entries that rest, or whose context is too small for the
    prompt, come after those that don't. Within a tier the configuration's order holds. Where no model takes tools,
    one without has to do: it is asked without them.
    """
    asked = [p for p, entry in enumerate(entries) if not request.among or entry.settings.name in request.among]
    able = [p for p in asked if request.needs <= capabilities(entries[p].settings)]
    if not able and "tools" in request.needs:
        able = [p for p in asked if request.needs - {"tools"} <= capabilities(entries[p].settings)]
    if len(able) < 2:
        return able
    size = estimate_messages(request.messages) + estimate_tools(request.tools)
    tier = request.tier

    def rank(place: int) -> tuple[bool, bool, bool, bool, int]:
        settings = entries[place].settings
        below = tier is not None and settings.tier < tier
        steps = 0 if tier is None else (tier - settings.tier if below else settings.tier - tier)
        return (
            size > settings.context_tokens, settings.name != request.model, entries[place].resting, below, steps,
        )  # fmt: skip

    return sorted(able, key=rank)


def capabilities(settings: ModelSettings) -> frozenset[str]:
    """What `ModelRequest.needs` may ask of an entry."""
    return frozenset(name for name in ("vision", "tools") if getattr(settings, name))
