"""Named agents: who answers, with which persona, models, tools and mode, and who talks to whom.

Pure, but for `Agents`, which holds the latest settings so that they can be replaced
while turns run. Bindings lead from a place to an agent, the most specific first: a peer
before a group, a group before an account, an account before a channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.ports.tools import ToolSpec
from agent.settings import AgentProfile, Binding

MAIN = "main"


@dataclass(frozen=True, slots=True)
class Route:
    """Which agent, and why."""

    agent_id: str
    reason: str


def route(bindings: Sequence[Binding], *, channel: str, peer: str = "", group: str = "", account: str = "") -> Route:
    """The agent for a place; `main` where no binding fits."""
    best: tuple[int, int] | None = None
    found = Route(MAIN, "no binding fits")
    place = {"peer": peer, "group": group, "account": account, "channel": channel}
    weights = {"peer": 8, "group": 4, "account": 2, "channel": 1}
    for index, binding in enumerate(bindings):
        said = {name: getattr(binding, name) for name in place if getattr(binding, name) is not None}
        if not said or any(place[name] != wanted for name, wanted in said.items()):
            continue
        rank = (sum(weights[name] for name in said), -index)  # of two equals, the first in the file
        if best is None or rank > best:
            best = rank
            fits = ", ".join(f"{name} {value}" for name, value in said.items())
            found = Route(binding.agent, f"binding {index + 1}: {fits}")
    return found


def tools_of(profile: AgentProfile, specs: Sequence[ToolSpec]) -> list[ToolSpec]:
    """The tools that this agent may use, by name patterns."""
    if profile.tools == ["*"]:
        return list(specs)
    return [spec for spec in specs if any(fnmatchcase(spec.name, pattern) for pattern in profile.tools)]


class Agents:
    """The agents and bindings in force."""

    def __init__(self, profiles: dict[str, AgentProfile], bindings: Sequence[Binding]) -> None:
        self.profiles = profiles
        self.bindings = list(bindings)
        self._default = AgentProfile()  # making one for each turn would cost a validation

    def replace(self, profiles: dict[str, AgentProfile], bindings: Sequence[Binding]) -> None:
        """Take over new settings; running turns end with those they began with."""
        self.profiles, self.bindings = profiles, list(bindings)

    def profile(self, agent_id: str) -> AgentProfile:
        """The agent's settings; an agent that is not configured is like `main`."""
        return self.profiles.get(agent_id) or self.profiles.get(MAIN) or self._default

    def route(self, *, channel: str, peer: str = "", group: str = "", account: str = "") -> Route:
        """Which agent answers there."""
        return route(self.bindings, channel=channel, peer=peer, group=group, account=account)
