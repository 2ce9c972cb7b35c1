"""Taking over MCP servers that are configured in other programs: Claude, Cursor, Windsurf, VS Code.

Finding and reading is here, with the places of each program per system; `editing.py` writes. Values that are secrets
never reach the configuration: they go to `secrets.yaml` and are referred to by name. Pure but for reading files.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge.foreign_settings import normalise_servers
from bridge.jsonc import plain_json
from bridge.settings import McpServerSettings

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_HEADER = re.compile(r"^(proxy-)?authorization$|cookie|KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_INPUT = re.compile(r"\$\{input:([^}]+)\}")
_KNOWN = frozenset({
    "name", "command", "args", "env", "url", "transport", "headers", "cwd", "timeout", "enabled",
})  # fmt: skip


class ImportFailed(Exception):
    """A file that can't be read as one of these programs writes it. The message is for people."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of another program that exists."""

    program: str
    path: Path


@dataclass(slots=True)
class Found:
    """A server found in a file: our entry, the secrets it refers to, and what the person should know.

    One that is `wrong` is not taken over: our own configuration would not be valid any more.
    """

    name: str
    entry: dict[str, Any]
    source: Source
    secrets: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    wrong: str = ""


def places(
    environ: Mapping[str, str], system: str = sys.platform, folder: Path | None = None
) -> Iterator[tuple[str, Path]]:
    """Where each program keeps its servers: `(program, path)`, the person's own files first, then the project's."""
    home = Path(environ.get("USERPROFILE" if system == "win32" else "HOME") or Path.home())
    if system == "win32":
        data = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif system == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield "claude", data / "Claude" / "claude_desktop_config.json"
    yield "claude", home / ".claude.json"
    yield "claude", home / ".claude" / "settings.json"
    yield "cursor", home / ".cursor" / "mcp.json"
    yield "windsurf", home / ".codeium" / "windsurf" / "mcp_config.json"
    yield "windsurf", home / ".codeium" / "mcp_config.json"
    for edition in ("Code", "Code - Insiders", "VSCodium"):
        yield "vscode", data / edition / "User" / "mcp.json"
        yield "vscode", data / edition / "User" / "settings.json"
    if folder is not None:
        yield "claude", folder / ".mcp.json"
        yield "cursor", folder / ".cursor" / "mcp.json"
        yield "vscode", folder / ".vscode" / "mcp.json"


def sources(wanted: str | None, environ: Mapping[str, str], folder: Path | None = None) -> list[Source]:
    """The files to read: of all programs, of one of them, or the one at a path. Raises ImportFailed."""
    programs = {"claude", "cursor", "vscode", "windsurf"}
    if wanted is not None and wanted.lower() not in programs:
        path = Path(wanted).expanduser()
        if not path.is_file():
            raise ImportFailed(f"{wanted} is neither a file nor one of {', '.join(sorted(programs))}")
        return [Source("file", path)]
    return [
        Source(program, path)
        for program, path in places(environ, folder=folder)
        if (wanted is None or program == wanted.lower()) and path.is_file()
    ]


def read(source: Source) -> list[Found]:
    """The servers in one file. Raises ImportFailed."""
    try:
        text = source.path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ImportFailed(f"{source.path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise ImportFailed(f"{source.path}: not UTF-8 text") from None
    try:
        document = json.loads(plain_json(text))
    except (ValueError, RecursionError):
        document = _yaml(source.path, text)
    if not isinstance(document, dict):
        raise ImportFailed(f"{source.path}: no servers in it")
    inputs = _secret_inputs(document)
    found = []
    for section in _sections(document):
        listed = section.items() if isinstance(section, Mapping) else ()
        odd = [name for name, entry in listed if not isinstance(entry, Mapping)]
        found += [Found(server_name(str(name)), {}, source, wrong="no map with 'command' or 'url'") for name in odd]
        try:
            entries = normalise_servers({k: v for k, v in section.items() if k not in odd} if odd else section)
        except ValueError as error:
            raise ImportFailed(f"{source.path}: {error}") from None
        found += [_found(entry, source, inputs) for entry in entries if isinstance(entry, Mapping) and "name" in entry]
    return found


def _yaml(path: Path, text: str) -> Any:
    """Continue and friends write YAML; our own file may be given too."""
    from bridge.configuration import ConfigurationError, load_text

    try:
        return load_text(text, str(path)).data
    except ConfigurationError as error:
        raise ImportFailed(str(error)) from None


def _sections(document: Mapping[str, Any]) -> Iterator[Any]:
    """Where servers are in a file: at the top, under `mcp`, and in Claude Code's projects."""
    for holder in (document, document.get("mcp")):
        if isinstance(holder, Mapping):
            for key in ("mcpServers", "servers", "mcp_servers", "mcp.servers"):
                if isinstance(holder.get(key), Mapping | list):
                    yield holder[key]
    projects = document.get("projects")
    if isinstance(projects, Mapping):
        for project in projects.values():
            if isinstance(project, Mapping) and isinstance(project.get("mcpServers"), Mapping):
                yield project["mcpServers"]


def _secret_inputs(document: Mapping[str, Any]) -> dict[str, str]:
    """VS Code's `inputs`, asked for at each start there: id to description."""
    listed = document.get("inputs")
    return {
        str(entry["id"]): str(entry.get("description", ""))
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, Mapping) and "id" in entry
    }


def _found(entry: Mapping[str, Any], source: Source, inputs: Mapping[str, str]) -> Found:
    name = server_name(str(entry["name"]))
    result = Found(name, {"name": name}, source)
    for key, value in entry.items():
        if key == "envFile":
            result.entry.setdefault("env", {})
            result.entry["env"] = {**_env_file(value, result), **result.entry["env"]}
        elif key not in _KNOWN:
            result.notes.append(f"'{key}' is not taken over")
        elif key != "name" and value not in (None, "", [], {}):
            result.entry[key] = value if key != "env" else {**result.entry.get("env", {}), **_texts(value)}
    _split_command(result.entry)
    if result.entry.get("transport") == "stdio":
        del result.entry["transport"]
    result.entry = _expanded(result.entry, source)
    _take_secrets(result, "env", _SECRET)
    _take_secrets(result, "headers", _SECRET_HEADER)
    _take_inputs(result, inputs)
    try:
        McpServerSettings.model_validate(result.entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        result.wrong = f"{where}: {first['msg'].removeprefix('Value error, ')}"
    return result


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): text if isinstance(text, str) else json.dumps(text) for key, text in value.items()}


def _split_command(entry: dict[str, Any]) -> None:
    """Some write the whole line as the command."""
    command = entry.get("command")
    if isinstance(command, str) and " " in command and not entry.get("args") and not Path(command).exists():
        try:
            parts = shlex.split(command, posix=os.name == "posix")
        except ValueError:  # a quote that is not closed: the person sees it as it is
            return
        if parts:
            entry["command"], entry["args"] = parts[0], parts[1:]


def _expanded(value: Any, source: Source) -> Any:
    """Variables that only the other program knows."""
    if isinstance(value, dict):
        return {key: _expanded(inner, source) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, source) for inner in value]
    if not isinstance(value, str):
        return value
    folder = source.path.parent
    project = folder.parent if folder.name in (".vscode", ".cursor") else folder
    for name, text in (
        ("${userHome}", str(Path.home())), ("${workspaceFolder}", str(project)), ("${pathSeparator}", os.sep),
        ("${/}", os.sep),
    ):  # fmt: skip
        value = value.replace(name, text)
    return value


def _env_file(value: Any, result: Found) -> dict[str, str]:
    """The variables of a `.env` file that VS Code would read."""
    path = Path(str(_expanded(str(value), result.source))).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        result.notes.append(f"the file {value} could not be read")
        return {}
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line and line.strip()[:1] != "#")
    return {name.strip(): text.strip().strip("'\"") for name, _, text in pairs}


def _take_secrets(result: Found, section: str, pattern: re.Pattern[str]) -> None:
    values = result.entry.get(section)
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        if pattern.search(name) and isinstance(value, str) and value and "${" not in value:
            reference = secret_name(result.name, name)
            result.secrets[reference] = value
            values[name] = f"${{secret:{reference}}}"


def _take_inputs(result: Found, inputs: Mapping[str, str]) -> None:
    """`${input:ID}` becomes a secret that the person still has to fill in."""

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner) for inner in value]
        return _INPUT.sub(one, value) if isinstance(value, str) else value

    def one(match: re.Match[str]) -> str:
        reference = secret_name(result.name, match[1])
        about = inputs.get(match[1], "")
        result.notes.append(f"write {reference} into secrets.yaml{f': {about}' if about else ''}, and enable it")
        return f"${{secret:{reference}}}"

    before = len(result.notes)
    result.entry = replaced(result.entry)
    if len(result.notes) > before:
        result.entry["enabled"] = False


def server_name(text: str) -> str:
    """The name here of a server that another program may call anything."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:64] or "server"


def secret_name(server: str, variable: str) -> str:
    """What a server's secret is called in `secrets.yaml`."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", f"{server}_{variable}").strip("_").upper()
