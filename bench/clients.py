"""The two clients of the bench: one that speaks to the relay, one that speaks to the gateway."""

import itertools
import time
from dataclasses import dataclass, field

import aiohttp
import orjson

from bench.processes import TOKEN


@dataclass(slots=True)
class Stream:
    """One answer as it came: seconds to the first delta, gaps, one-way times, how many deltas."""

    first: float = 0.0
    deltas: int = 0
    gaps: list[float] = field(default_factory=list)
    one_way: list[float] = field(default_factory=list)
    seconds: float = 0.0
    tools: int = 0
    _last: float = 0.0

    def saw(self, text: str, begun: float, timed: bool) -> None:
        now = time.monotonic()
        self.deltas += text.count(" ") if not timed else text.count("t")
        if not self._last:
            self.first = now - begun
        else:
            self.gaps.append(now - self._last)
        if timed:
            for word in text.split():
                self.one_way.append(now - int(word[1:]) / 1e6)
        self._last = now


ASKED = {"one": "mock:1:0;", "many": "mock:200:0;", "slow": "mock:100:20;", "long": "mock:200:20;"}
"""What to say for one chunk, for many at once, for one or two hundred at 20 ms each."""
TIMED = ("slow", "long")


class RelayClient:
    """Asks the floor."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def open(self) -> "RelayClient":
        self._socket = await self._session.ws_connect(self._url + "/ws", compress=0)
        return self

    async def ask(self, model: str) -> Stream:
        stream, begun = Stream(), time.monotonic()
        await self._socket.send_str(orjson.dumps({"text": ASKED[model]}).decode())
        while True:
            frame = orjson.loads((await self._socket.receive()).data)
            if "done" in frame:
                stream.seconds = time.monotonic() - begun
                return stream
            stream.saw(frame["delta"], begun, model in TIMED)

    async def close(self) -> None:
        await self._socket.close()


class GatewayClient:
    """Asks the gateway, a session for each client unless told otherwise."""

    _numbers = itertools.count(1)

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = None) -> None:
        self._session, self._url = session, url
        self._key = key or f"bench {next(self._numbers)} {time.monotonic_ns()}"

    async def open(self) -> "GatewayClient":
        self._socket = await self._session.ws_connect(
            self._url + "/ws", compress=0, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        return self

    async def ask(self, model: str = "one", key: str | None = None) -> Stream:
        stream, begun = Stream(), time.monotonic()
        await self._socket.send_str(
            orjson.dumps(
                {"jsonrpc": "2.0", "id": next(self._numbers), "method": "chat.send_stream",
                 "params": {"text": ASKED.get(model, model), "session_key": key or self._key}}
            ).decode()
        )  # fmt: skip
        while True:
            frame = orjson.loads((await self._socket.receive()).data)
            if "error" in frame:
                raise RuntimeError(str(frame["error"]))
            params = frame.get("params")
            if params is None:
                continue
            if params["type"] == "chat.delta":
                stream.saw(params["delta"], begun, model in TIMED)
            elif params["type"] == "tool.finished":
                assert not params["is_error"], params
                stream.tools += 1
            elif params["type"] == "chat.done":
                stream.seconds = time.monotonic() - begun
                return stream
            elif params["type"] == "chat.error":
                raise RuntimeError(params["message"])

    async def call(self, method: str, **params: object) -> dict[str, object]:
        """One request, its result."""
        number = next(self._numbers)
        await self._socket.send_str(
            orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode()
        )
        while True:
            frame = orjson.loads((await self._socket.receive()).data)
            if frame.get("id") == number:
                if "error" in frame:
                    raise RuntimeError(str(frame["error"]))
                return dict(frame["result"])

    async def close(self) -> None:
        await self._socket.close()
