"""What an assistant is told about itself and about the person, from files that people write.

`$GATEWAY_HOME/agents/<agent>/AGENTS.md` is the agent's persona, `users/<user>/AGENTS.md`
what one person wants, `skills/<name>/SKILL.md` what it can learn when it needs to. Files
are read again when they change. What one user wrote reaches nobody else: his folder is
found by his id, which holds no path.
"""

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bus.errors import NotFound
from bus.events import Actor

log = logging.getLogger("agent.persona")

FILE_CHARS = 8_000
SKILL_CHARS = 40_000
MAX_SKILLS = 40
LOOK_SECONDS = 1.0
"""How long it is remembered that nobody wrote anything: a turn does not ask the disk each time."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A folder with a SKILL.md: its name, what it is for, and the text."""

    name: str
    description: str
    file: Path


class Personas:
    """Reads the files below `home`."""

    def __init__(self, home: Path, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._home = home
        self._kept: dict[Path, tuple[int, str]] = {}
        self._looked = float("-inf")
        self._found = False
        self._skilled = False

    async def text(self, agent_id: str, actor: Actor) -> str:
        """What goes behind the system prompt; '' where nobody wrote anything."""
        return await asyncio.to_thread(self._text, agent_id, actor.user) if self._any() else ""

    def _any(self) -> bool:
        self._look()
        return self._found

    def has_skills(self) -> bool:
        """Whether there is a skill to read, as far as was seen a moment ago."""
        self._look()
        return self._skilled

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked >= self._look_seconds:
            self._looked = now
            self._found = any((self._home / name).is_dir() for name in ("agents", "users", "skills"))
            self._skilled = self._found and any((self._home / "skills").glob("*/SKILL.md"))

    def _text(self, agent_id: str, user: str) -> str:
        parts = [self._read(self._home / "agents" / _name(agent_id) / "AGENTS.md", FILE_CHARS)]
        own = self._read(self._home / "users" / _name(user) / "AGENTS.md", FILE_CHARS)
        if own:
            parts.append(f"What this person wants of you:\n{own}")
        skills = self.skills()
        if skills:
            lines = "\n".join(f"- {skill.name}: {skill.description}" for skill in skills)
            parts.append(f"Skills (read one with the tool `skill` before you use it):\n{lines}")
        return "\n\n".join(part for part in parts if part)

    def _read(self, file: Path, limit: int) -> str:
        try:
            changed = file.stat().st_mtime_ns
        except OSError:
            self._kept.pop(file, None)
            return ""
        kept = self._kept.get(file)
        if kept is None or kept[0] != changed:
            kept = self._kept[file] = (changed, _content(file, limit))
        return kept[1]

    def forget(self, user: str) -> None:
        """Take away what one person wanted. Raises OSError."""
        if _name(user) == user:
            folder = self._home / "users" / user
            self._kept.pop(folder / "AGENTS.md", None)
            (folder / "AGENTS.md").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else lies there, or nothing did
                folder.rmdir()

    def skills(self) -> list[Skill]:
        """The skills there are, by name."""
        found = []
        for file in sorted((self._home / "skills").glob("*/SKILL.md"))[:MAX_SKILLS]:
            found.append(Skill(file.parent.name, description_of(self._read(file, SKILL_CHARS)), file))
        return found

    async def skill(self, name: str) -> str:
        """The text of one skill. Raises NotFound."""
        for skill in await asyncio.to_thread(self.skills):
            if skill.name == name:
                return await asyncio.to_thread(self._read, skill.file, SKILL_CHARS)
        raise NotFound(f"there is no skill named {name!r}")


def _content(file: Path, limit: int) -> str:
    """The text, '' where it can't be had: a link, a folder, somebody else's file. No turn fails for it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as opened:
            return opened.read(limit).strip()
    except OSError as error:
        log.warning("%s cannot be read and is left out: %s", file, error.strerror)
        return ""


def _name(text: str) -> str:
    """A folder's name that cannot lead elsewhere."""
    return text if text not in ("", ".", "..") and "/" not in text and "\\" not in text and "\0" not in text else "-"


def description_of(text: str) -> str:
    """`description:` of the front matter, else the first line of the text."""
    lines = text.splitlines()
    if lines and lines[0].strip() == "---":
        for line in lines[1:]:
            if line.strip() == "---":
                break
            name, _, value = line.partition(":")
            if name.strip() == "description":
                return value.strip().strip("\"'")[:300]
    for line in lines:
        if line.strip() and not line.startswith(("---", "name:")):
            return line.lstrip("# ").strip()[:300]
    return ""
