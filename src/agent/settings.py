"""The agent's slices of the settings: `models`, `agent`, `limits`, `sessions`."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Strict):
    """One entry of `models`: an OpenAI-compatible endpoint."""

    name: str = Field(min_length=1, max_length=64)
    base_url: str = "https://api.openai.com/v1"
    api_key: SecretStr | None = None
    api_keys: tuple[SecretStr, ...] = ()
    """More keys for the same model, tried in this order where the first is refused, used up or failing."""
    model: str = Field(min_length=1)
    tier: int = Field(default=1, ge=0, le=2)
    vision: bool = False
    tools: bool = True
    context_tokens: int = Field(default=128_000, ge=1_000)
    max_output_tokens: int | None = Field(default=None, ge=1)
    first_token_seconds: float = Field(default=60, gt=0)
    stall_seconds: float = Field(default=60, gt=0)
    total_seconds: float = Field(default=600, gt=0)
    """Of one round."""
    max_concurrent: int = Field(default=1_024, ge=1)
    """Rounds at once; beyond it people take turns."""
    input_price: float | None = Field(default=None, ge=0)
    """US dollars per million tokens; None takes the bundled table."""
    output_price: float | None = Field(default=None, ge=0)
    cached_price: float | None = Field(default=None, ge=0)

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc or not url.isprintable() or " " in url:
            raise ValueError("an address such as http://127.0.0.1:11434/v1 is needed, without a password in it")
        return url


class AgentSettings(_Strict):
    """`agent:` in the gateway's file."""

    mode: Literal["auto", "fast", "single", "multi"] = "auto"
    system_prompt: str | None = None
    max_rounds: int = Field(default=25, ge=1, le=200)
    tool_seconds: float = Field(default=120, gt=0)
    queue: Literal["followup", "collect", "steer", "interrupt"] = "followup"
    """What a message does that comes while a turn runs; `queues` says it for a channel, `/queue` for a session."""
    queues: dict[str, Literal["followup", "collect", "steer", "interrupt"]] = {}
    gather_seconds: float = Field(default=0.25, ge=0, le=2)
    """With `collect`: how long to wait for the rest of a burst; twice this at most."""
    window_messages: int = Field(default=80, ge=4)
    """The most messages of the history that the model is given; cut in halves, so that prefixes stay stable."""
    window_tokens: int = Field(default=24_000, ge=500)
    compaction: bool = True
    """Whether what leaves the window is told in short by the cheapest model, off the reply path."""


class WebSearchSettings(_Strict):
    """`tools.web_search`. `auto`: SearXNG where `base_url` is set, else ddgs where it is installed."""

    provider: Literal["auto", "searxng", "brave", "tavily", "ddgs", "off"] = "auto"
    base_url: str | None = None
    api_key: SecretStr | None = None
    seconds: float = Field(default=15, gt=0)


class WebFetchSettings(_Strict):
    """`tools.web_fetch`."""

    seconds: float = Field(default=20, gt=0)
    max_bytes: int = Field(default=5 * 1024 * 1024, ge=1_024)


class ToolRule(_Strict):
    """An entry of `tools.rules`: the policy of some tools for some people. The strictest that fits holds."""

    tools: list[str] = Field(min_length=1)
    """Patterns of public names: `web_*`, `calendar_delete_event`."""
    policy: Literal["allow", "ask", "deny"]
    """A tool about which its bridge asks anyway is not asked about twice."""
    roles: frozenset[Literal["owner", "admin", "user", "service", "viewer"]] = frozenset()
    """Empty means everybody's."""
    users: frozenset[str] = frozenset()


class ToolSettings(_Strict):
    """`tools:` in the gateway's file: the built-in tools. `disabled` are names of tools that nobody has."""

    disabled: frozenset[str] = frozenset()
    rules: list[ToolRule] = []
    """Who may have which tool, those of servers and bridges too, and with which a person is asked first."""
    web_search: WebSearchSettings = WebSearchSettings()
    web_fetch: WebFetchSettings = WebFetchSettings()


class LimitSettings(_Strict):
    """`limits:` in the gateway's file."""

    messages_per_minute: int = Field(default=100, ge=0)
    """Per user, over all channels and connections; 0 means no limit."""
    queued_messages_per_session: int = Field(default=20, ge=1)
    turns_per_user: int = Field(default=4, ge=1)
    turn_seconds: float = Field(default=600, gt=0)
    drain_seconds: float = Field(default=30, ge=0)


class AgentProfile(_Strict):
    """An entry of `agents`: what differs from `agent:`. Its persona is `agents/<id>/AGENTS.md` in the home folder."""

    system_prompt: str | None = None
    mode: Literal["auto", "fast", "single", "multi"] | None = None
    models: list[str] = []
    """Names of entries of `models` it may use; empty means all."""
    tools: list[str] = ["*"]
    """Patterns of tool names it may use."""


class Binding(_Strict):
    """An entry of `bindings`: who talks to which agent. What is not said fits everything."""

    agent: str = Field(min_length=1)
    channel: str | None = None
    account: str | None = None
    group: str | None = None
    peer: str | None = None


class Budget(_Strict):
    """What one person may use in a day (UTC); None means no limit."""

    daily_usd: float | None = Field(default=None, ge=0)
    daily_tokens: int | None = Field(default=None, ge=0)


class BudgetSettings(Budget):
    """`budgets:` in the gateway's file: for everybody, then by role, then by user, the nearest wins."""

    warn_at: float = Field(default=0.8, gt=0, le=1)
    """The share of a budget from which on the person is warned."""
    roles: dict[str, Budget] = {}
    users: dict[str, Budget] = {}


class SessionSettings(_Strict):
    """`sessions:` in the gateway's file."""

    backend: Literal["jsonl", "redis"] = "jsonl"
    redis_url: str = "redis://127.0.0.1:6379/0"
