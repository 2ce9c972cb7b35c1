"""`gateway chat` in a pseudo-terminal where something is refused, or more than one thing is asked."""

import asyncio
import time

from tests.fakes.dropping_gateway import DroppingGateway, answer
from tests.fakes.pseudo_terminal import PseudoTerminal
from tests.gateway.cli.test_chat import in_terminal


async def test_a_refused_message_ends_no_conversation():
    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("too fast\r")
        terminal.expect(r"slow down \(1005\)")
        terminal.expect("›")
        terminal.send("hello\r")
        terminal.expect("You said hello")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway:
        gateway.error = {"code": 1005, "message": "slow down", "data": {"retryable": True, "retry_after_ms": 50}}
        await in_terminal(gateway, person)


async def test_two_at_once_are_asked_one_after_another_and_either_may_be_answered_elsewhere():
    async def asking(gateway: DroppingGateway, message_id: str, text: str) -> None:
        for number in ("1", "2", "3"):
            gateway.emit(
                "approval.requested", message_id, approval_id="a" + number, call_id=number, tool="tool_" + number,
                arguments={}, risk="", expires_at="",
            )  # fmt: skip
        await asyncio.sleep(0.5)
        for number in ("2", "1"):  # the one that still waits first: it is never asked
            gateway.emit("approval.resolved", message_id, approval_id="a" + number, decision="deny", by="ann")
        await gateway.resolved.wait()
        gateway.emit("approval.resolved", message_id, approval_id="a3", decision="allow_once", by="ann")
        # this one is over before anybody could be asked
        gateway.emit(
            "approval.requested", message_id, approval_id="a4", call_id="4", tool="tool_4", arguments={}, risk="",
            expires_at="",
        )  # fmt: skip
        gateway.emit("approval.resolved", message_id, approval_id="a4", decision="deny", by="ann")
        await answer(gateway, message_id, text)

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("do it\r")
        terminal.expect(r"use tool_1")
        terminal.expect(r"\[N\]o:")
        terminal.expect(r"use tool_3")
        terminal.expect(r"\[N\]o:")
        time.sleep(0.1)
        terminal.send("y\r")
        terminal.expect("You said do it")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0
        assert "tool_2" not in terminal.text

    async with DroppingGateway() as gateway:
        gateway.script = asking
        await in_terminal(gateway, person)
        given = [params for method, params in gateway.calls if method == "approval.resolve"]
    assert given == [{"approval_id": "a3", "decision": "allow_once"}]


async def test_what_a_turn_of_another_terminal_asks_is_seen_at_the_prompt():
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        loop.call_soon_threadsafe(ready.set)
        terminal.expect(r"waiting for a yes: fs_write \(/approve a7\)")
        terminal.expect("›")
        time.sleep(0.3)  # while something is printed above it, the prompt does not have the keys
        terminal.send("\x04")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway, asyncio.TaskGroup() as tasks:
        tasks.create_task(in_terminal(gateway, person))
        await ready.wait()
        gateway.emit(
            "approval.requested", "m9", approval_id="a7", call_id="c", tool="fs_write", arguments={}, risk="",
            expires_at="",
        )  # fmt: skip
