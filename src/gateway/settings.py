"""The gateway's whole configuration: composed of the slices, loaded once.

Above: `gateway/cli` and `gateway/app.py`, which hand each constructor its slice.
Below: the slices of every package and `bridge.configuration`, which reads YAML.
This module knows where values come from (a file, the environment, the command line)
and in which order; `settings_rules.py` knows what may not be combined.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.settings import (
    AgentProfile,
    AgentSettings,
    Binding,
    BudgetSettings,
    LimitSettings,
    ModelSettings,
    SessionSettings,
    ToolSettings,
)
from bridge.audit import KEPT_PARTS
from bridge.configuration import ConfigurationError, Document, Place, Problem, References, load_file, overlay, read
from bridge.configuration import Path as KeyPath
from bridge.settings import McpServers, source_location
from bus.settings import BusSettings
from channels.settings import ChannelsSettings, SpeechSettings
from gateway.settings_rules import check
from gateway.settings_server import AuthSettings, ServerSettings

PREFIX = "GATEWAY__"
EXAMPLE = Path("config/gateway.yaml")


class LoggingSettings(BaseModel):
    """`logging:` in the gateway's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    audit_files: int = Field(default=KEPT_PARTS, ge=1)
    """So many full files of the audit log are kept, of 10 MB each."""


class TracingSettings(BaseModel):
    """`tracing:` in the gateway's file: where spans go over OTLP/HTTP (needs the extra `otel`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    service: str = "busgate"


class GatewaySettings(BaseModel):
    """Everything that can be configured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    models: list[ModelSettings] = []
    agent: AgentSettings = AgentSettings()
    mcp_servers: McpServers = ()
    channels: ChannelsSettings = ChannelsSettings()
    speech_to_text: SpeechSettings | None = None
    logging: LoggingSettings = LoggingSettings()
    bus: BusSettings = BusSettings()
    sessions: SessionSettings = SessionSettings()
    tools: ToolSettings = ToolSettings()
    budgets: BudgetSettings = BudgetSettings()
    agents: dict[str, AgentProfile] = {}
    bindings: list[Binding] = []
    tracing: TracingSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and where they came from. `source` is None where there was no file."""

    settings: GatewaySettings
    source: Path | None
    home: Path
    """`$GATEWAY_HOME`: where all state lies."""
    warnings: tuple[str, ...] = ()


def gateway_home(environ: Mapping[str, str]) -> Path:
    """`$GATEWAY_HOME`, or `~/.gateway`."""
    named = environ.get("GATEWAY_HOME")
    if named:
        return Path(named).expanduser().absolute()
    user = environ.get("HOME")
    return (Path(user) if user else Path.home()) / ".gateway"


def load_settings(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    overrides: Mapping[KeyPath, tuple[str, Any]] | None = None,
) -> Loaded:
    """The settings by file, environment and command line, the later winning.

    `overrides` are values by path, each with the name of the option that brought it.
    Raises ConfigurationError (exit 2) and RefusedForSafety (exit 3) with all mistakes.
    """
    environ = os.environ if environ is None else environ
    home = gateway_home(environ)
    document, source = _find(path, environ, home)
    _model_key(document, environ)
    problems: list[Problem] = []
    for name, key, value in _from_environment(environ):
        try:
            overlay(document, key, value, Place(name))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    for key, (option, value) in (overrides or {}).items():
        overlay(document, key, value, Place(option))
    _channel_credentials(document, environ)
    folder = source.absolute().parent if source else home
    references = References(environ, folder)
    settings = read(document, references, GatewaySettings, enabled=_enabled, locate=source_location)
    warnings = check(settings, document)
    return Loaded(settings=settings, source=source, home=home, warnings=tuple(warnings))


def _find(path: str | Path | None, environ: Mapping[str, str], home: Path) -> tuple[Document, Path | None]:
    """The first configuration there is. One that was named must exist; a file that says nothing is no file."""
    named = path or environ.get("GATEWAY_CONFIG")
    if named:
        return load_file(str(named)), Path(named).expanduser()
    for candidate in (EXAMPLE, home / "config.yaml"):
        if _is_there(candidate):
            document = load_file(str(candidate))
            if document.data:
                return document, candidate
    return Document("configuration"), None


def _is_there(candidate: Path) -> bool:
    """Whether there is a file, or something that may not be looked at: reading it then says so."""
    try:
        return candidate.is_file()
    except OSError:
        return True


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, KeyPath, Any]]:
    """`GATEWAY__SERVER__PORT=9000` as name, path and value; whole sections before their parts."""
    found: list[tuple[str, KeyPath, Any]] = []
    for name, text in environ.items():
        if name.upper().startswith(PREFIX):
            key: KeyPath = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
            found.append((name, key, _environment_value(text)))
    return sorted(found, key=lambda each: (len(each[1]), each[0]))


def _environment_value(text: str) -> Any:
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            return text
    return None if stripped == "null" else text


_CHANNEL_VARIABLES: dict[str, dict[str, str]] = {
    "telegram": {"token": "TELEGRAM_BOT_TOKEN"},
    "discord": {"token": "DISCORD_BOT_TOKEN"},
    "feishu": {"app_id": "FEISHU_APP_ID", "app_secret": "FEISHU_APP_SECRET"},
}


def _model_key(document: Document, environ: Mapping[str, str]) -> None:
    """A model key in the environment is a model, where the file names none."""
    if environ.get("OPENAI_API_KEY") and not document.data.get("models"):
        entry = {"name": "main", "model": environ.get("OPENAI_MODEL") or "gpt-5", "api_key": "${OPENAI_API_KEY}"}
        if environ.get("OPENAI_BASE_URL"):
            entry["base_url"] = environ["OPENAI_BASE_URL"]
        overlay(document, ("models",), [entry], Place("OPENAI_API_KEY"))


def _channel_credentials(document: Document, environ: Mapping[str, str]) -> None:
    """A channel's credentials in the environment turn it on, unless the file says it is off."""
    for channel, variables in _CHANNEL_VARIABLES.items():
        section = document.get(("channels", channel))
        if section is not None and not isinstance(section, dict):
            continue
        section = section or {}
        brought = all(
            environ.get(name) or _set_by_variable(document, ("channels", channel, key))
            for key, name in variables.items()
        )
        if section.get("enabled") is None and brought:
            overlay(document, ("channels", channel, "enabled"), True, Place(next(iter(variables.values()))))
        if brought or section.get("enabled"):
            for key, name in variables.items():
                if environ.get(name) and section.get(key) is None:
                    overlay(document, ("channels", channel, key), "${" + name + "}", Place(name))


def _set_by_variable(document: Document, path: KeyPath) -> bool:
    place = document.places.get(path)
    return place is not None and place.source.upper().startswith(PREFIX)


def _enabled(path: KeyPath, section: Mapping[str, Any]) -> bool:
    """Whether references in this section are looked up: channels are off unless they say otherwise."""
    if len(path) == 2 and path[0] == "channels":
        return str(section.get("enabled", "")).lower() in ("true", "1", "yes", "on")
    return str(section.get("enabled", "")).lower() != "false" and section.get("disabled") is not True
