"""One turn over a connection that breaks wherever it can."""

import asyncio
import io
import json
from typing import Any

import pytest

from channels.cli import LinkRefused, RpcFailed
from channels.cli.link import Link
from channels.cli.once import ask_once
from tests.fakes.dropping_gateway import DroppingGateway, answer


async def ask(gateway: DroppingGateway, text: str = "hello", **options: Any) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    link = Link(gateway.url, "token", patience=options.pop("patience", 5))
    link.session = "S"
    code = 1
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        async with asyncio.timeout(20):
            code = await ask_once(
                link, text, "key", as_json=options.get("as_json", False), screen=None, out=out, errors=errors,
                language="en",
            )  # fmt: skip
        running.cancel()
    return code, out.getvalue(), errors.getvalue()


async def test_the_answer_is_all_there_is_on_stdout():
    async with DroppingGateway() as gateway:
        assert await ask(gateway) == (0, "You said hello\n", "")


async def test_json_is_every_event_as_a_line():
    async with DroppingGateway() as gateway:
        code, out, _ = await ask(gateway, as_json=True)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["type"] for line in lines] == ["chat.started"] + ["chat.delta"] * 3 + ["chat.done"]
    assert [line["seq"] for line in lines] == [2, 3, 4, 5, 6]


async def test_an_error_is_exit_code_one_and_told_on_stderr():
    async def failing(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.error", message_id, code=2003, message="the model is away", retryable=True)

    async with DroppingGateway() as gateway:
        gateway.script = failing
        assert await ask(gateway) == (1, "", "the model is away (2003)\n")


@pytest.mark.attack(76)
@pytest.mark.parametrize("cut", range(1, 5))
async def test_a_connection_cut_anywhere_in_the_stream_loses_and_doubles_nothing(cut: int):
    async def cutting(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        for number, piece in enumerate(("You ", "said ", text), start=2):
            if number == cut + 1:
                await gateway.drop()
            gateway.emit("chat.delta", message_id, delta=piece)
        if cut == 4:
            await gateway.drop()
        gateway.emit("chat.done", message_id, text=f"You said {text}", finish_reason="stop", usage={})

    async with DroppingGateway() as gateway:
        gateway.script = cutting
        code, out, errors = await ask(gateway, as_json=True)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and "lost" in errors
    assert [event["seq"] for event in events] == [2, 3, 4, 5, 6]
    assert "".join(event.get("delta", "") for event in events) == "You said hello"


@pytest.mark.attack(79)
async def test_a_connection_cut_before_the_acknowledgement_is_repeated_under_the_same_key():
    async with DroppingGateway() as gateway:
        gateway.drop_before_reply = 2
        code, out, _ = await ask(gateway)
        sent = [params["idempotency_key"] for method, params in gateway.calls if method == "chat.send_stream"]
    assert (code, out) == (0, "You said hello\n")
    assert len(sent) == 3 and len(set(sent)) == 1 and len(gateway.keys) == 1


async def test_events_that_are_gone_are_taken_from_the_history():
    async def vanishing(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta="You ")
        gateway.forgetful = True
        gateway.history = [
            {"seq": 1, "message_id": message_id, "role": "user", "text": text},
            {"seq": 2, "message_id": message_id, "role": "assistant", "text": "Looking", "tool_calls": [{}]},
            {"seq": 3, "message_id": message_id, "role": "tool", "text": "x"},
            {"seq": 4, "message_id": message_id, "role": "assistant", "text": "You said it"},
        ]
        await gateway.drop()

    async with DroppingGateway() as gateway:
        gateway.script = vanishing
        assert (await ask(gateway))[:2] == (0, "Looking\n\nYou said it\n")


async def test_a_turn_that_failed_while_the_line_was_cut_is_told_too():
    """No history has an error, and its event is no longer kept: nobody may wait for it for ever."""

    async def failing(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta="Half ")
        gateway.forgetful = True
        gateway.history = [{"seq": 1, "message_id": message_id, "role": "user", "text": text}]
        await gateway.drop()
        gateway.emit("chat.error", message_id, quiet=True, code=2003, message="the model is away", retryable=True)

    async with DroppingGateway() as gateway:
        gateway.script = failing
        code, out, errors = await ask(gateway)
    assert (code, out) == (1, "") and "the model is away (2003)" in errors


async def test_what_is_too_long_is_refused_here_and_cuts_no_line():
    async with DroppingGateway() as gateway:
        gateway.limits = {"max_message_bytes": 4000}
        with pytest.raises(ExceptionGroup) as refused:
            await ask(gateway, "汉" * 1400)
        assert refused.group_contains(RpcFailed, match="at most 4000 bytes")
        assert not [method for method, _ in gateway.calls if method == "chat.send_stream"]
        assert await ask(gateway, "汉" * 1200) == (0, "You said " + "汉" * 1200 + "\n", "")


async def test_an_answer_that_began_afresh_is_written_once():
    async def twice(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta="You sa")
        await answer(gateway, message_id, text)

    async with DroppingGateway() as gateway:
        gateway.script = twice
        assert (await ask(gateway))[:2] == (0, "You said hello\n")


async def test_a_refusal_is_final():
    async with DroppingGateway() as gateway:
        gateway.refuse = 4501
        with pytest.raises(ExceptionGroup) as caught:
            await ask(gateway)
    assert caught.group_contains(LinkRefused, match="not you")


async def test_patience_ends():
    gateway = DroppingGateway()
    gateway.url = "ws://127.0.0.1:9/ws"
    with pytest.raises(ExceptionGroup) as caught:
        await ask(gateway, patience=0)
    assert caught.group_contains(LinkRefused, match="cannot reach")


async def test_waiting_for_a_yes_is_said():
    async def asking(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit(
            "approval.requested", message_id, approval_id="a1", call_id="c", tool="fs_write", arguments={}, risk="",
            expires_at="",
        )  # fmt: skip
        await answer(gateway, message_id, text)

    async with DroppingGateway() as gateway:
        gateway.script = asking
        assert "fs_write" in (await ask(gateway))[2]
