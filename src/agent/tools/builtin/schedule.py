"""`schedule`: reminders and regular tasks for the person who asks.

Below it `schedule_book.py` (the file and the service) and `schedule_times.py` (when). Adding is not
idempotent: a call that was cut by a crash is not repeated.
"""

import asyncio

from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.builtin.schedule_book import Scheduler, Task
from agent.tools.builtin.schedule_times import check_cron, moment, next_time, shown, zone_kept, zone_named
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.events import JsonObject


class ScheduleTool:
    """Adds, lists and cancels entries of the actor's own."""

    spec = ToolSpec(
        name="schedule",
        description=(
            "Reminders and recurring tasks for this person. add: text (what to tell or do then), and when: `at` "
            "(2030-01-31T09:00 or “in 10 minutes”) for once, or `cron` (five fields) for regularly; `zone` is the "
            "person's time zone. list: what is planned. cancel: by id."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "action": {"enum": ["add", "list", "cancel"]},
                "text": {"type": "string", "maxLength": 2000},
                "at": {"type": "string", "maxLength": 64},
                "cron": {"type": "string", "maxLength": 100},
                "zone": {"type": "string", "maxLength": 64},
                "id": {"type": "string", "maxLength": 64},
            },
            "required": ["action"],
            "additionalProperties": False,
        },
    )

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem for times that make no sense."""
        given = call.arguments
        if given["action"] == "list":
            return {"entries": [_shown(task) for task in await self._scheduler.of(call.actor.user)]}
        if given["action"] == "cancel":
            if not await self._scheduler.cancel(call.actor.user, str(given.get("id", ""))):
                raise ToolProblem("There is no entry with this id; list shows the ids.")
            return {"cancelled": given["id"]}
        return {"added": _shown(await self._add(call))}

    async def _add(self, call: ToolCall) -> Task:
        given = call.arguments
        text = str(given.get("text") or "").strip()
        at, cron, zone = str(given.get("at") or ""), str(given.get("cron") or ""), str(given.get("zone") or "").strip()
        if not text or bool(at) == bool(cron):
            raise ToolProblem("add needs “text”, and either “at” or “cron”.")
        place, now = await asyncio.to_thread(zone_named, zone), self._scheduler.now()
        if cron:
            cron = check_cron(cron)
            due = next_time(cron, place, now)
            if due is None:
                raise ToolProblem("That time never comes.")
        else:
            due = moment(at, place, now)
        return await self._scheduler.add(call.actor, call.session, text, due=due, zone=place.key, cron=cron)


def _shown(task: Task) -> JsonObject:
    found: JsonObject = {"id": task.task_id, "text": task.text, "next": shown(task.due, zone_kept(task.zone))}
    if task.cron:
        found["cron"] = task.cron
    return found
