"""The parts of the payload of TOOLS, and how much of it there may be. Pure; below `aggregator.py`.

A frame of the tunnel has a limit. A server that offers without end must neither break the link nor push the tools of
other servers out, so each has a share.
"""

from collections.abc import Iterable

import orjson

from bridge.ports import JsonObject
from bridge.servers.calls import Progress, Question
from bridge.servers.owner import ServerOwner

SERVER_BYTES = 1024 * 1024
"""What the definitions of one server's tools may take together; its resources and prompts a quarter of it."""
CATALOGUE_BYTES = 3 * 1024 * 1024


def fit(items: Iterable[JsonObject], share: int, room: int) -> tuple[list[JsonObject], dict[str, int], int]:
    """The items that fit, in their order: each server within `share` bytes, all of them within `room`.

    Also how many of which server were left out, and the bytes that were taken.
    """
    kept: list[JsonObject] = []
    left_out: dict[str, int] = {}
    taken: dict[str, int] = {}
    total = 0
    for item in items:
        server = str(item["server"])
        size = len(orjson.dumps(item)) + 1
        if taken.get(server, 0) + size > share or total + size > room:
            left_out[server] = left_out.get(server, 0) + 1
            continue
        taken[server] = taken.get(server, 0) + size
        total += size
        kept.append(item)
    return kept, left_out, total


def assemble(
    owners: Iterable[ServerOwner], tools: Iterable[JsonObject], resources: Iterable[JsonObject],
    prompts: Iterable[JsonObject],
) -> tuple[JsonObject, list[str]]:  # fmt: skip
    """The payload without its revision, and what to say about what did not fit."""
    problems: list[str] = []
    room = CATALOGUE_BYTES
    payload: JsonObject = {"servers": [_server(owner) for owner in owners]}
    for key, items, share in (
        ("tools", tools, SERVER_BYTES), ("prompts", prompts, SERVER_BYTES // 4),
        ("resources", resources, SERVER_BYTES // 4),
    ):  # fmt: skip
        payload[key], left_out, taken = fit(items, share, room)
        room -= taken
        problems += [f"{server}: {count} {key} are left out: too large together" for server, count in left_out.items()]
    return payload, problems


def _server(owner: ServerOwner) -> JsonObject:
    entry: JsonObject = {"name": owner.name, "state": owner.state}
    if owner.error:
        entry["error"] = owner.error
    return entry


def progress_payload(news: Progress) -> JsonObject:
    """A piece of news as PROGRESS carries it."""
    result: JsonObject = {"state": "running", "progress": news.progress}
    if news.total is not None:
        result["total"] = news.total
    if news.message is not None:
        result["message"] = news.message
    return result


def question_payload(question: Question) -> JsonObject:
    """A server's question as it is carried to the person."""
    return {"server": question.server, "message": question.message, "schema": question.schema}
