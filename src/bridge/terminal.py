"""Talking to the person at the terminal: a yes or no, a form, a table. Texts of strangers are cleaned before."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from bridge.local import Asked
from bridge.servers.definitions import clean

_SHOWN = 4000


def at_terminal() -> bool:
    """Whether somebody is there to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def for_terminal(text: str) -> str:
    """A stranger's text for stdout: at a terminal it moves no cursor, in a pipe or a file it is as it was."""
    return clean(text) if sys.stdout.isatty() else text


def revealed(text: str) -> str:
    """JSON as somebody must see it who says yes to it: what would hide, move the cursor or turn text around, by number.

    In JSON such a character only stands within a text, where its escape means the same.
    """
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character > "\x7f" else f"\\u{ord(character):04x}"


def ask_at_terminal(asked: Asked) -> bool:
    """One question; anything but a yes is a no."""
    whole = json.dumps(asked.arguments, ensure_ascii=False, indent=2)
    arguments = revealed(whole[:_SHOWN])
    if len(whole) > _SHOWN:
        arguments += f" … ({len(whole) - _SHOWN} more characters)"
    sys.stderr.write(f"{asked.tool} ({asked.risk})\n{asked.description[:_SHOWN]}\n{arguments}\nallow this call? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes", "j", "是")


def fill_form(question: Mapping[str, Any]) -> dict[str, Any]:
    """An MCP server's question, field by field; an empty line at a required field cancels."""
    sys.stderr.write(f"{clean(str(question.get('server', '')))} asks: {clean(str(question.get('message', '')))}\n")
    schema = question.get("schema") or {}
    required = set(schema.get("required") or ())
    content: dict[str, Any] = {}
    for name, about in (schema.get("properties") or {}).items():
        hint = clean(str(about.get("description") or about.get("title") or about.get("type") or ""))[:200]
        choices = f" {about['enum']}" if isinstance(about.get("enum"), list) else ""
        sys.stderr.write(f"  {clean(str(name))} ({hint}){choices}: ")
        sys.stderr.flush()
        text = sys.stdin.readline().strip()
        if not text and name in required:
            return {"action": "cancel"}
        if text:
            content[name] = _typed(text, str(about.get("type", "string")))
    return {"action": "accept", "content": content}


def _typed(text: str, kind: str) -> Any:
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    return text.lower() in ("y", "yes", "true", "1", "j", "是") if kind == "boolean" else text


def describe_status(told: Mapping[str, Any]) -> str:
    """What a running bridge told, for people."""
    link = told.get("link") or {}
    reason = f" ({link['reason']})" if link.get("reason") else ""
    lines = [
        f"{told.get('name')} (pid {told.get('pid')}, version {told.get('version')})",
        f"gateway {told.get('url')}: {link.get('state')} since {link.get('since')}{reason}",
    ]
    for server in told.get("servers", []):
        error = f" ({server['error']})" if server.get("error") else ""
        lines.append(f"  {server['name']}: {server['state']}, {server['tools']} tools{error}")
    calls = told.get("calls") or {}
    lines.append(f"calls: {calls.get('running')} running, {calls.get('finished')} done, {calls.get('refused')} refused")
    return "\n".join(lines + [f"left out: {problem}" for problem in told.get("problems", [])])
