"""`make soak`: many people chat for hours while connections break and the gateway is stopped and killed.

At the end, and all the way: every message that was acknowledged ended exactly once and is in the
history exactly once, nobody saw another's words, the audit log is whole, memory does not creep.
`python -m bench.soak --minutes 60 --users 50`; the exit code is 1 where a promise was broken.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bridge.audit import verify
from channels.cli.follow import TERMINAL
from channels.cli.link import Link, RpcFailed

FAULTS = ("drop", "drop", "drop", "stop", "kill")
ANSWER_SECONDS = 120


@dataclass
class Tally:
    """What was seen. `broken` are promises that were not kept, in words."""

    acknowledged: int = 0
    answered: int = 0
    failed: dict[int, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class House:
    """The gateway as a process on a port of its own, restarted after each death."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"ws://127.0.0.1:{port}/ws"
        self._port = port
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it is ready."""
        limits = {"GATEWAY__LIMITS__MESSAGES_PER_MINUTE": "0", "GATEWAY__LIMITS__DRAIN_SECONDS": "5"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", "--port", str(self._port),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "GATEWAY_HOME": str(self.home), **limits},
        )  # fmt: skip
        until = time.monotonic() + 60
        while not (self.home / "gateway.json").exists() or self._pid() != self.process.pid:
            if time.monotonic() > until or self.process.returncode is not None:
                raise RuntimeError("the gateway did not start")
            await asyncio.sleep(0.05)

    def _pid(self) -> int:
        try:
            return int(json.loads((self.home / "gateway.json").read_text())["pid"])
        except (OSError, ValueError):
            return 0

    async def end(self, number: int) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), 60)

    def megabytes(self) -> float:
        """Resident memory."""
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20


class Person:
    """Says numbered words and checks what comes back."""

    def __init__(self, name: str, house: House, token: str, tally: Tally) -> None:
        self.name = name
        self.said: dict[str, str] = {}
        self._tally = tally
        self._link = Link(house.url, token)
        self._link.session = f"soak-{name}"

    async def live(self, until: float) -> None:
        """Chat until the time is over, then look back."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._link.run())
            number = 0
            while time.monotonic() < until:
                number += 1
                await self._turn(f"{self.name}-word-{number}")
                await asyncio.sleep(random.uniform(0, 0.5))
            await self._look_back()
            running.cancel()

    def drop(self) -> None:
        """Break the connection as a bad network does."""
        socket = self._link._socket
        if socket is not None:
            socket.transport.abort()

    async def _turn(self, words: str) -> None:
        try:
            message_id = await self._link.send(words, f"key-{words}")
        except RpcFailed as error:
            self._tally.failed[error.code] = self._tally.failed.get(error.code, 0) + 1
            await asyncio.sleep(0.5)
            return
        self._tally.acknowledged += 1
        self.said[message_id] = words
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                event = await self._end_of(message_id)
        except TimeoutError:
            self._tally.broken.append(f"{words}: acknowledged and never ended")
            return
        if event["type"] == "chat.done":
            self._tally.answered += 1
            if words not in str(event.get("text")):
                self._tally.broken.append(f"{words}: answered by {str(event.get('text'))[:80]!r}")
        else:
            code = int(event.get("code", 0))
            self._tally.failed[code] = self._tally.failed.get(code, 0) + 1

    async def _end_of(self, message_id: str) -> dict[str, object]:
        while True:
            event = await self._link.events.get()
            if event["type"] in TERMINAL and event.get("message_id") == message_id:
                return event

    async def _look_back(self) -> None:
        """The history holds each acknowledged message once, and nobody else's."""
        seen: dict[str, int] = {}
        before: int | None = None
        while True:
            place = {} if before is None else {"before_seq": before}
            page = await self._link.call("chat.history", session_key=self._link.session, limit=200, **place)
            for message in page["messages"]:
                if message["role"] == "user":
                    seen[message["message_id"]] = seen.get(message["message_id"], 0) + 1
                    if not str(message["text"]).startswith(self.name + "-"):
                        self._tally.broken.append(f"{self.name} sees {str(message['text'])[:60]!r}")
            if not page["has_more"]:
                break
            before = page["messages"][0]["seq"]
        for message_id, words in self.said.items():
            if seen.get(message_id, 0) != 1:
                self._tally.broken.append(f"{words}: {seen.get(message_id, 0)} times in the history")


async def torment(house: House, people: list[Person], until: float, pause: float, tally: Tally) -> None:
    """A fault every `pause` seconds or so; the memory is noted before each."""
    began = time.monotonic()
    while time.monotonic() + pause * 2 < until:
        await asyncio.sleep(random.uniform(pause / 2, pause * 1.5))
        tally.memory.append((time.monotonic() - began, house.megabytes()))
        fault = random.choice(FAULTS)
        tally.faults[fault] = tally.faults.get(fault, 0) + 1
        if fault == "drop":
            for person in random.sample(people, max(1, len(people) // 4)):
                person.drop()
        else:
            await house.end(signal.SIGTERM if fault == "stop" else signal.SIGKILL)
            await house.start()


async def soak(minutes: float, users: int, pause: float, seed: int) -> Tally:
    """Run it; what was seen."""
    random.seed(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder) / "home", _free_port())
        await house.start()
        try:
            people = [Person(f"user{n}", house, await _token(house, f"user{n}"), tally) for n in range(users)]
            until = time.monotonic() + minutes * 60
            async with asyncio.TaskGroup() as tasks:
                for person in people:
                    tasks.create_task(person.live(until))
                tasks.create_task(torment(house, people, until, pause, tally))
        finally:
            await house.end(signal.SIGTERM)
        verdict = verify(house.home / "audit.jsonl")
        if not verdict.ok:
            tally.broken.append(f"the audit log, line {verdict.line}: {verdict.reason}")
    return tally


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _token(house: House, user: str) -> str:
    from gateway.cli.running import admin_token, http

    def ask() -> str:
        body = {"jsonrpc": "2.0", "id": 1, "method": "token.create", "params": {"user": user, "role": "user"}}
        url = "http" + house.url.removeprefix("ws").removesuffix("/ws") + "/api/v1/rpc"
        return str(http(url, body=body, token=admin_token(house.home))[1]["result"]["token"])

    return await asyncio.to_thread(ask)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Chat through faults for a long time.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--pause", type=float, default=10, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    tally = asyncio.run(soak(options.minutes, options.users, options.pause, options.seed))
    print(f"acknowledged {tally.acknowledged}, answered {tally.answered}, errors by code {tally.failed}")
    shown = [round(each) for _, each in tally.memory[:: max(1, len(tally.memory) // 20)]]
    print(f"faults {tally.faults}; memory MiB {shown}")
    for line in tally.broken:
        print(f"BROKEN {line}")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
