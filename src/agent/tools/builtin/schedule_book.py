"""Reminders and regular tasks of all people, on disk, and the service that hands them over when they are due.

Above it the tool `schedule` and the composition, which runs `Scheduler.run(submit)` and makes a message of a `Due`.
Each due time is handed over at most once: the book is written before, so a crash in between loses one rather than
doubling it. What fell due while the house was down is handed over once, late, when it is up again.
"""

import asyncio
import dataclasses
import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from agent.tools.builtin.schedule_times import following_time, zone_kept
from agent.tools.registry import ToolProblem
from bus.context import new_id, timestamp
from bus.events import Actor
from bus.keys import SessionKey

log = logging.getLogger(__name__)

MAX_PER_USER = 50
LOOK_SECONDS = 30.0
"""The longest sleep: a clock that is set forward is noticed within this time."""
VERSION = 1
PROMPT_EN = "(Planned earlier by this person and due now: do it, or remind them of it.) "
PROMPT_ZH = "（用户之前安排的事项，现在到时间了：请执行，或提醒用户。）"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to come back to. `due` in seconds since the epoch; `cron` is '' for a reminder.

    The actor is kept with role and scopes of the day it was made; whoever acts on a `Due` looks up today's.
    """

    task_id: str
    user: str
    text: str
    due: float
    zone: str
    cron: str = ""
    created_at: str = ""
    session: str = ""
    """`SessionKey.identity` of where it was asked for."""
    channel: str = ""
    identity: str = ""
    language: str = "en"
    role: str = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A task whose time has come. `idempotency_key` is the same for the same task and time."""

    task: Task
    due: float

    @property
    def idempotency_key(self) -> str:
        return f"schedule:{self.task.task_id}:{int(self.due)}"

    @property
    def prompt(self) -> str:
        """What the model is told: the task, and that nobody has said it just now."""
        return (PROMPT_ZH if self.task.language.startswith("zh") else PROMPT_EN) + self.task.text

    @property
    def session(self) -> SessionKey:
        """Where it was asked for: the person reads the result there."""
        return SessionKey.from_identity(self.task.session)

    @property
    def lane(self) -> SessionKey:
        """A session of its own, private to the person, for running it beside the conversation."""
        return SessionKey(f"schedule:{self.task.task_id}", self.task.user)


Submit = Callable[[Due], Awaitable[object]]


class Scheduler:
    """Keeps the tasks in one file, and hands them over. `now` gives seconds since the epoch."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self._path = folder / "schedule.json"
        self.now = now
        self.looks = 0
        """How often the clock was looked at, and what was due handed over."""
        self._tasks: dict[str, Task] | None = None
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()

    async def add(
        self, actor: Actor, session: SessionKey | None, text: str, *, due: float, zone: str = "", cron: str = ""
    ) -> Task:
        """Keep a task. Raises ToolProblem where the person has too many."""
        async with self._lock:
            tasks = await self._loaded()
            if sum(task.user == actor.user for task in tasks.values()) >= MAX_PER_USER:
                raise ToolProblem(f"There are {MAX_PER_USER} entries already: cancel some first.")
            place = session or SessionKey(f"agent:main:websocket:direct:{actor.user}")
            task = Task(
                task_id=new_id("t"), user=actor.user, text=text, due=due, zone=zone, cron=cron, created_at=timestamp(),
                session=place.identity, channel=actor.channel, identity=actor.identity, language=actor.language,
                role=actor.role,
            )  # fmt: skip
            await self._save({**tasks, task.task_id: task})
            return task

    async def of(self, user: str) -> list[Task]:
        """A person's tasks, the next one first."""
        async with self._lock:
            found = [task for task in (await self._loaded()).values() if task.user == user]
        return sorted(found, key=lambda task: task.due)

    async def cancel(self, user: str, task_id: str) -> bool:
        """Forget one. False where this person has no such task."""
        async with self._lock:
            tasks = await self._loaded()
            if task_id not in tasks or tasks[task_id].user != user:
                return False
            await self._save({key: task for key, task in tasks.items() if key != task_id})
            return True

    async def forget(self, user: str) -> None:
        """Forget all of a person's tasks."""
        async with self._lock:
            tasks = await self._loaded()
            if any(task.user == user for task in tasks.values()):
                await self._save({key: task for key, task in tasks.items() if task.user != user})

    async def run(self, submit: Submit) -> None:
        """Until cancelled: give each task to `submit` when it is due. A submit that fails is logged, not repeated."""
        while True:
            self._changed.clear()
            try:
                found, wait = await self._take()
            except OSError:
                # What cannot be written down is not handed over: it would come again after a restart.
                log.exception("the schedule cannot be written, trying again later")
                found, wait = [], LOOK_SECONDS
            for due in found:
                try:
                    await submit(due)
                except Exception:  # one person's task must not end the service for all
                    log.exception("scheduled task %s could not be handed over", due.task.task_id)
            self.looks += 1
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def look(self) -> None:
        """Look at the clock now (it was set, or the machine woke up)."""
        self._changed.set()

    async def _take(self) -> tuple[list[Due], float]:
        """What is due now, written down as handed over; and how long to sleep."""
        async with self._lock:
            tasks, now = dict(await self._loaded()), self.now()
            found = []
            for task in sorted(tasks.values(), key=lambda task: task.due):
                if task.due > now:
                    continue
                found.append(Due(task=task, due=task.due))
                # From now on, not from then: times that were missed are made up for once.
                follower = following_time(task.cron, zone_kept(task.zone), now) if task.cron else None
                if follower is None:
                    del tasks[task.task_id]
                else:
                    tasks[task.task_id] = dataclasses.replace(task, due=follower)
            if found:
                await self._save(tasks)
            next_due = min((task.due for task in tasks.values()), default=now + LOOK_SECONDS)
        return found, min(max(next_due - now, 0.0), LOOK_SECONDS) + 0.001

    # ------------------------------------------------------------ the file

    async def _loaded(self) -> dict[str, Task]:
        if self._tasks is None:
            self._tasks = await asyncio.to_thread(self._read)
        return self._tasks

    def _read(self) -> dict[str, Task]:
        """The tasks of the file. A damaged one is put aside, so that people can plan anew; a newer one is left."""
        try:
            data = orjson.loads(self._path.read_bytes())
            version = data["version"]
            known = {field.name for field in dataclasses.fields(Task)}
            entries = data["tasks"] if version == VERSION else []
            tasks = [Task(**{name: entry[name] for name in known if name in entry}) for entry in entries]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            aside = self._path.with_suffix(".json.corrupt")
            self._path.replace(aside)
            log.error("%s was no schedule and is kept as %s: %s", self._path, aside.name, error)
            return {}
        if version != VERSION:
            raise OSError(errno.EINVAL, f"this program reads version {VERSION}, not {version}", str(self._path))
        return {task.task_id: task for task in tasks}

    async def _save(self, tasks: dict[str, Task]) -> None:
        writing = asyncio.get_running_loop().run_in_executor(None, self._write, tasks)
        try:
            await asyncio.shield(writing)
        finally:
            # Whoever asked may be stopped: the thread goes on, and nobody else writes before it is known what it did.
            await asyncio.wait([writing])
            if writing.exception() is None:
                self._tasks = tasks
                self._changed.set()

    def _write(self, tasks: dict[str, Task]) -> None:
        data = orjson.dumps({"version": VERSION, "tasks": [asdict(task) for task in tasks.values()]})
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
