"""`ai-bridge diag`: one text for whoever helps: versions, configuration, findings, state, the last audit records.

Below `cli/`; changes nothing. Values of secrets, of `env` and of `headers` are left out, names stay.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bridge.audit import tail
from bridge.configuration import ConfigurationError
from bridge.doctor import examine
from bridge.editing import read_secrets
from bridge.loading import config_path, load
from bridge.status import read_status
from bridge.version import VERSION

MASK = "***"
AUDIT_RECORDS = 50
_LIBRARIES = ("mcp", "websockets", "pydantic", "orjson", "psutil", "ruamel.yaml", "typer")


def collect(option: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Everything as JSON, without secrets."""
    path = config_path(option, environ)
    told: dict[str, Any] = {
        "version": VERSION, "python": sys.version.split()[0], "platform": platform.platform(),
        "built": "one file" if getattr(sys, "frozen", False) else "package",
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "configuration": str(path), "settings": None,
    }  # fmt: skip
    secrets: list[str] = []
    try:
        loaded = load(option, environ)
        told["settings"] = _plain(loaded.settings.model_dump(mode="json"))
        secrets = [text for text in read_secrets(path.parent / "secrets.yaml").values() if len(text) >= 4]
    except ConfigurationError as error:
        told["problems"] = [str(problem) for problem in error.problems]
    told["findings"] = [finding.plain() for finding in examine(option, environ)]
    status = read_status(path.parent)
    told["status"] = {"running": status.running, **status.told}
    told["audit"] = (
        list(tail(path.parent / "audit.jsonl", AUDIT_RECORDS)) if (path.parent / "audit.jsonl").exists() else []
    )
    cleaned: dict[str, Any] = _without(told, sorted(secrets, key=len, reverse=True))
    return cleaned


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if key in ("env", "headers"):
            return dict.fromkeys(value, MASK)
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return MASK if isinstance(value, str) and value and not value.strip("*") else value


def _without(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(inner, secrets) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, secrets) for inner in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
    return value


def as_text(told: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"ai-bridge {told['version']} ({told['built']}), Python {told['python']}, {told['platform']}"]
    lines += [" ".join(f"{name}=={found}" for name, found in told["libraries"].items())]
    lines += ["", f"## configuration {told['configuration']}", *told.get("problems", ())]
    lines += [json.dumps(told["settings"], ensure_ascii=False, indent=1), "", "## findings"]
    for one in told["findings"]:
        step = f" -> {one['next']}" if one["next"] else ""
        lines.append(f"{'ok' if one['ok'] else 'FAILED'}: {one['name']}: {one['detail']}{step}")
    lines += ["", "## status", json.dumps(told["status"], ensure_ascii=False, indent=1)]
    lines += ["", f"## the last {AUDIT_RECORDS} audit records"]
    return "\n".join(lines + [json.dumps(record, ensure_ascii=False) for record in told["audit"]])


def write(file: Path | None, text: str, suffix: str) -> Path:
    """Into a new file that only its owner can read. Raises OSError, FileExistsError where it is there already."""
    target = file or Path(f"ai-bridge-diag-{time.strftime('%Y%m%d-%H%M%S')}.{suffix}")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text + "\n")
    return target
