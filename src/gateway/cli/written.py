"""What the wizard found out, written down: a commented configuration, and secrets apart. Never over anything.

Pure but for `write`. Above: `init.py`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Answers:
    """The choices. Without a model the built-in demo answers. `channels` are settings by name; secrets lie apart."""

    base_url: str = ""
    model: str = ""
    has_key: bool = False
    channels: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)


SECRET_FIELDS: Mapping[str, Mapping[str, str]] = {
    "telegram": {"token": "TELEGRAM_BOT_TOKEN"},
    "discord": {"token": "DISCORD_BOT_TOKEN"},
    "feishu": {"app_id": "FEISHU_APP_ID", "app_secret": "FEISHU_APP_SECRET"},
}
_HEAD = """\
# Written by `gateway init`. It is yours: change what you like, then `gateway config check`.
# Secrets are in secrets.yaml beside this file (mode 0600); ${secret:NAME} refers to them.
# Every key and its default: `gateway config show`, and docs/configuration.md.

# server:
#   host: 127.0.0.1            # this machine only; another address needs TLS
#   port: 8080

"""
_NO_MODEL = """\
# models:                      # without one the built-in demo model answers
#   - {name: main, base_url: "https://api.openai.com/v1", api_key: "${secret:MODEL_API_KEY}", model: gpt-5}
"""


def render(answers: Answers) -> str:
    """The configuration as commented YAML."""
    lines = [_HEAD]
    if answers.model:
        lines += ["models:\n", "  - name: main\n", f"    base_url: {_text(answers.base_url)}\n"]
        if answers.has_key:
            lines.append("    api_key: ${secret:MODEL_API_KEY}\n")
        lines.append(f"    model: {_text(answers.model)}\n")
    else:
        lines.append(_NO_MODEL)
    lines.append("\n")
    if not answers.channels:
        lines.append('# channels:\n#   telegram: {enabled: true, token: "${secret:TELEGRAM_BOT_TOKEN}"}\n')
        return "".join(lines)
    lines.append("channels:\n")
    for name, settings in answers.channels.items():
        lines += [f"  {name}:\n", "    enabled: true\n"]
        lines += [f"    {key}: ${{secret:{secret}}}\n" for key, secret in SECRET_FIELDS[name].items()]
        lines.append("    # pairing: who writes gets a code, `gateway pair approve CODE` lets him in\n")
        lines += [f"    {key}: {_text(value)}\n" for key, value in settings.items()]
    return "".join(lines)


def _text(value: Any) -> str:
    """JSON is YAML, and quotes what needs it."""
    return json.dumps(value, ensure_ascii=False)


def write(target: Path, answers: Answers) -> list[Path]:
    """Write the configuration and the secrets; the files. Raises FileExistsError where one would be overwritten."""
    secrets = target.parent / "secrets.yaml"
    for path in [target] + ([secrets] if answers.secrets else []):
        if path.exists():
            raise FileExistsError(17, "exists already", str(path))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = []
    if answers.secrets:
        text = "# Nobody else may read this file (mode 0600).\n"
        text += "".join(f"{name}: {_text(value)}\n" for name, value in answers.secrets.items())
        _create(secrets, text)
        files.append(secrets)
    _create(target, render(answers))
    return [target, *files]


def _create(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
