"""A gateway that calls tools itself, as its agent does: what gateway and bridge cost without a caller's own way there.

`python -m bench.inside CONFIG` prints its port when it listens, and is told on standard input what to do, a line each:
`one TOOL COUNT` answers with the middle of the milliseconds of so many calls, one after the other; `many TOOL COUNT`
with the calls per second of 64 side by side. It is the composition that `python -m gateway` serves, listener, guard,
audit and tunnel included; the calls begin where the agent's do, at the guard.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from agent.ports.tools import ToolCall
from bench.callers import milliseconds, rate
from bench.processes import percentile
from bus.context import new_id
from bus.deadline import Deadline
from bus.events import Actor
from gateway.app import SWITCH_SECONDS, spare_the_collector
from gateway.composition import Gateway, compose
from gateway.routes import make_listener
from gateway.settings import load_settings

ACTOR = Actor(user="bench", role="user", scopes=frozenset({"chat", "tools"}))


async def _call(gateway: Gateway, tool: str) -> None:
    call = ToolCall(
        call_id=new_id("call"), name=tool, arguments={"text": "x"}, actor=ACTOR, idempotency_key=new_id("key")
    )
    result = await gateway.toolbox.guard.call(call, deadline=Deadline(60.0), report=lambda update: None)
    if result.is_error:
        raise RuntimeError(str(result))


async def _obey(gateway: Gateway, line: str) -> float:
    what, tool, count = line.split()
    if what == "many":
        return await rate(lambda: _call(gateway, tool), int(count), 64)
    return percentile([await milliseconds(lambda: _call(gateway, tool)) for _ in range(int(count))], 0.5)


async def main(config: Path) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        gateway = await compose(load_settings(config), stack)
        listener = make_listener(gateway)
        await listener.open()
        stack.push_async_callback(listener.close, seconds=0.1)
        service = group.create_task(gateway.toolbox.directory.run())
        gateway.phase.ready = True
        spare_the_collector()
        print(listener.url.rpartition(":")[2].rstrip("/"), flush=True)
        while line := (await questions.readline()).decode():
            print(await _obey(gateway, line), flush=True)
        service.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
