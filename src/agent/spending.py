"""What a turn uses: tokens, money and tool calls, by attempt and model.

Pure book-keeping. Above are `turn.py`, whose rounds and tools are entered here, and
`runner.py`, which charges the person when the turn ends; `accounts.py` keeps the sums.
"""

from agent.ports.people import Charge
from agent.resume import TurnProgress
from bus.events import InboundMessage, JsonObject, Usage


class Spending:
    """Of the turn that answers `message`; `progress` is what earlier attempts came to."""

    def __init__(self, message: InboundMessage, progress: TurnProgress) -> None:
        self.usage = Usage()
        """All of it, as it is told with the answer."""
        self.tool_calls = 0
        """Of this attempt."""
        self._message = message
        self._progress = progress
        self._spent: dict[str, Usage] = {}
        self._cut: dict[tuple[int, str], Usage] = {}

    def add(self, usage: Usage, model: str = "") -> None:
        """Add a round's tokens and money; `model` is charged, where this attempt asked it."""
        self.usage = together(self.usage, usage)
        if model:
            self._spent[model] = together(self._spent.get(model, Usage()), usage)

    def add_cut(self, attempt: int, model: str, usage: Usage) -> None:
        """What a round used that a crash cut in an earlier attempt."""
        self.usage = together(self.usage, usage)
        self._cut[attempt, model] = usage

    def charges(self) -> list[Charge]:
        """What the turn cost, by attempt and model.

        An attempt that a crash cut had no time to charge what it used: its recorded rounds are charged now, under
        its own number, so that they count once where it had after all.
        """
        now = self._progress.attempts + 1
        calls: dict[int, int] = {now: self.tool_calls + self._progress.tool_calls}
        spent = self._cut | {(now, model): usage for model, usage in self._spent.items()}
        for step in self._progress.rounds:
            if step.model:
                key = (step.attempt or now, step.model)
                spent[key] = together(spent.get(key, Usage()), Usage(**step.usage))
                calls[key[0]] = calls.get(key[0], 0) + len(step.results)
        if not spent and calls[now]:
            spent[now, ""] = Usage()
        message = self._message
        return [
            Charge(
                actor=message.actor, message_id=message.message_id, attempt=attempt, model=model, usage=usage,
                tool_calls=calls.pop(attempt, 0),
            )
            for (attempt, model), usage in spent.items()
        ]  # fmt: skip

    def as_data(self) -> JsonObject:
        """What this attempt used, for the record of a pause; the next one goes on from there."""
        calls = self.tool_calls + self._progress.tool_calls
        spent = dict(self._spent)
        for step in self._progress.rounds:
            if step.model:
                spent[step.model] = together(spent.get(step.model, Usage()), Usage(**step.usage))
                calls += len(step.results)
        return {"spent": {model: usage_data(usage) for model, usage in spent.items()}, "tool_calls": calls}


def together(one: Usage, other: Usage) -> Usage:
    """The sum of two."""
    cost = None if one.cost is None and other.cost is None else (one.cost or 0.0) + (other.cost or 0.0)
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
        cost=cost,
        estimated_tokens=(one.estimated_tokens or 0) + (other.estimated_tokens or 0) or None,
    )


def usage_data(usage: Usage) -> JsonObject:
    """A Usage as it stands in a record."""
    data: JsonObject = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.cost is not None:
        data["cost"] = usage.cost
    if usage.estimated_tokens:
        data["estimated_tokens"] = usage.estimated_tokens
    return data
