"""Runs a fake in a process of its own and lets a test steer it over HTTP.

The child: `python -m tests.fakes.<fake> ['{"argument": …}']` prints one JSON line,
`{"port": …, "control": …}`, and stops when its stdin closes, so that it never
outlives the test. The parent: `async with RemoteFake("discord_server") as fake:
await fake("says", "42", "hello")`.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from types import TracebackType
from typing import Any

from aiohttp import ClientSession, web


def plain(value: Any) -> Any:
    """An object of the fake's as JSON."""
    return vars(value) if is_dataclass(value) else repr(value)


async def serve(make: Callable[[dict[str, Any]], Any]) -> None:
    """The child's main: the fake on one port, its control on another."""
    fake = make(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    await fake.start()

    async def control(request: web.Request) -> web.Response:
        target: Any = fake
        *owners, name = request.match_info["name"].split(".")
        for owner in owners:
            target = getattr(target, owner)
        call = await request.json()
        found = getattr(target, name)
        result = found(*call["args"], **call["kwargs"]) if callable(found) else found
        if inspect.isawaitable(result):
            result = await result
        return web.json_response(result, dumps=lambda value: json.dumps(value, default=plain))

    application = web.Application(client_max_size=64 << 20)
    application.router.add_post("/{name}", control)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": fake.port, "control": runner.addresses[0][1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await fake.stop()
    await runner.cleanup()


class RemoteFake:
    """A fake in another process. Calling it calls a method there, or reads an attribute (`"world.typing"`)."""

    def __init__(self, module: str, **arguments: Any) -> None:
        self._module = module
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self._session: ClientSession | None = None
        self.port = 0
        self._control = 0

    async def __aenter__(self) -> "RemoteFake":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"tests.fakes.{self._module}", json.dumps(self._arguments),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = json.loads(await self._process.stdout.readline())
        self.port, self._control = said["port"], said["control"]
        self._session = ClientSession()
        return self

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        assert self._session is not None
        url = f"http://127.0.0.1:{self._control}/{name}"
        async with self._session.post(url, json={"args": args, "kwargs": kwargs}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        assert self._session is not None and self._process is not None and self._process.stdin is not None
        await self._session.close()
        self._process.stdin.close()
        await self._process.wait()
