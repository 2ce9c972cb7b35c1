"""What tokens cost: a bundled table, and the configuration's own prices before it.

Used by the clients for `Usage.cost`. Prices are US dollars per million tokens. A model that neither knows has no
price, and its cost is None rather than a guess. `prices.json` says when it was checked, and against which pages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from agent.llm.tokens import estimate_messages, estimate_text, estimate_tools
from agent.settings import ModelSettings
from bus.events import JsonObject, Usage

_VERSION = re.compile(r"(?:[-@:](?:\d{4}-?\d{2}-?\d{2}|\d{4}|latest|preview|exp))+\Z")


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float
    cached: float


@cache
def _table() -> dict[str, Price]:
    data = orjson.loads(Path(__file__).with_name("prices.json").read_bytes())
    return {name: Price(*figures) for name, figures in data["prices"].items()}


def price_of(settings: ModelSettings) -> Price | None:
    """The price of an entry: each figure from the configuration, else from the table; None where it isn't known."""
    known = _table().get(bare_name(settings.model))
    if settings.input_price is None and settings.output_price is None and settings.cached_price is None:
        return known
    base = known or Price(0.0, 0.0, 0.0)
    paid = base.input if settings.input_price is None else settings.input_price
    cached = settings.cached_price
    if cached is None:  # an input price of one's own makes the table's discount meaningless
        cached = base.cached if settings.input_price is None else paid
    return Price(paid, base.output if settings.output_price is None else settings.output_price, cached)


def bare_name(model: str) -> str:
    """`openai/gpt-4o-2024-08-06` -> `gpt-4o`: without the provider and the version."""
    return _VERSION.sub("", model.rsplit("/", 1)[-1].lower())


def cost_of(usage: Usage, price: Price | None) -> float | None:
    """Dollars, or None where the price isn't known."""
    if price is None:
        return None
    fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
    sums = fresh * price.input + usage.cached_tokens * price.cached + usage.completion_tokens * price.output
    return round(sums / 1_000_000, 9)


def usage_of(
    given: JsonObject, messages: Sequence[JsonObject], text: str, price: Price | None, tools: Sequence[JsonObject] = ()
) -> Usage:
    """The provider's `usage` object in our form; estimated, and marked so, where it gave none.

    `messages` and `tools` are what was asked, `text` all that the model wrote.
    Cached tokens are `prompt_tokens_details.cached_tokens` (OpenAI) or `prompt_cache_hit_tokens` (DeepSeek).
    """
    prompt, completion = _count(given.get("prompt_tokens")), _count(given.get("completion_tokens"))
    counted_by_us = not prompt and not completion
    if counted_by_us:
        prompt, completion = estimate_messages(messages) + estimate_tools(tools), estimate_text(text)
    details = given.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    cached = min(cached or _count(given.get("prompt_cache_hit_tokens")), prompt)
    counted = Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    total = max(_count(given.get("total_tokens")), prompt + completion)
    return Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, total_tokens=total,
        cost=cost_of(counted, price), estimated_tokens=(total or None) if counted_by_us else None,
    )  # fmt: skip


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
