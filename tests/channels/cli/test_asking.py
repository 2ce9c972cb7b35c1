"""What is asked at the terminal: only a plain yes is one."""

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from channels.cli.asking import ask_approval, ask_question
from channels.cli.link import Link
from channels.cli.screen import Screen
from tests.fakes.dropping_gateway import DroppingGateway


async def asked(gateway: DroppingGateway, ask: Any, event: dict[str, Any], read_line: Any) -> None:
    """`ask` asks at this gateway what the event says."""
    link = Link(gateway.url, "token", patience=5)
    link.session = "S"
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        await ask(event, link, Screen(Console(file=io.StringIO()), "en"), read_line)
        running.cancel()


async def told(ask: Any, event: dict[str, Any], *typed: str) -> dict[str, Any]:
    """What the gateway is told when a person types this."""
    lines = iter(typed)

    async def read_line(prompt: str) -> str:
        return next(lines)

    async with DroppingGateway() as gateway:
        await asked(gateway, ask, event, read_line)
        assert next(lines, None) is None, "everything was asked for"
        [given] = [params for method, params in gateway.calls if method in ("approval.resolve", "question.answer")]
    return given


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ("y", "allow_once"), (" Once ", "allow_once"), ("session", "allow_session"), ("ALWAYS", "allow_always"),
        ("stop", "deny"), ("abort", "deny"), ("skip it", "deny"), ("absolutely not", "deny"), ("oh no", "deny"),
        ("no", "deny"), ("", "deny"),
    ],
)  # fmt: skip
async def test_a_word_that_only_begins_like_a_yes_allows_nothing(typed: str, decision: str) -> None:
    event = {"type": "approval.requested", "approval_id": "a1", "tool": "fs_write", "arguments": {}}
    assert (await told(ask_approval, event, typed))["decision"] == decision


@pytest.mark.parametrize(("typed", "action"), [("y", "accept"), ("", "decline"), ("n", "decline"), ("stop", "decline")])
async def test_a_question_without_fields_is_asked_all_the_same(typed: str, action: str) -> None:
    event = {"type": "question.requested", "question_id": "q1", "message": "Delete everything?",
             "schema": {"type": "object", "properties": {}}}  # fmt: skip
    assert (await told(ask_question, event, typed))["action"] == action


@pytest.mark.parametrize(
    ("schema", "typed", "content"),
    [
        ({"properties": {"a": True, "n": {"type": "number"}}}, ["2.5"], {"n": 2.5}),
        ({"properties": {"n": {"type": "number"}}}, ["nan"], {"n": "nan"}),
        ({"properties": {"c": {"type": "string", "enum": 5}}}, ["red"], {"c": "red"}),
        ({"properties": ["a"]}, ["y"], {}),
        ("no form", ["y"], {}),
    ],
)
async def test_a_question_that_is_badly_made_ends_no_conversation(
    schema: Any, typed: list[str], content: dict[str, Any]
) -> None:
    event = {"type": "question.requested", "question_id": "q1", "message": "How many?", "schema": schema}
    assert await told(ask_question, event, *typed) == {"question_id": "q1", "action": "accept", "content": content}


async def test_what_can_be_chosen_moves_no_cursor() -> None:
    prompts: list[str] = []

    async def read_line(prompt: str) -> str:
        prompts.append(prompt)
        raise EOFError

    schema = {"properties": {"c": {"type": "string", "enum": ["red", "\x1b[2J\x1b]0;root\x07"]}}}
    event = {"type": "question.requested", "question_id": "q1", "message": "Which?", "schema": schema}
    async with DroppingGateway() as gateway:
        await asked(gateway, ask_question, event, read_line)
    assert "red" in prompts[0] and "\x1b" not in prompts[0] and "\x07" not in prompts[0]


@pytest.mark.attack(46)
async def test_nothing_hides_in_what_is_said_yes_to() -> None:
    seen = io.StringIO()
    screen = Screen(Console(file=seen, width=100), "en")
    screen.approval({"tool": "run", "arguments": {"path": "a\u200bb\u202ec\u2066\u00ad\x9b2J"}})
    shown = seen.getvalue()
    assert r"a\u200bb\u202ec\u2066\u00ad\u009b2J" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
