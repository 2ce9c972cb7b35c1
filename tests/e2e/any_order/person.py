"""What a person does, at random: says, repeats, edits, stops, reads along, deletes, answers questions, hangs up."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from tests.e2e.any_order.book import Book, Ear, Said
from tests.e2e.any_order.line import Gone, Line, Refused
from tests.gateway.edge.harness import bearer

SESSIONS = ("one", "two", "shared")
COMMANDS = (
    "/new", "/stop", "/stop", "/status", "/mode fast", "/mode single", "/queue followup", "/queue collect", "/last",
    "/queue steer", "/queue interrupt", "/help", "/sessions", "/queue", "/approvals", "/nonsense",
)  # fmt: skip
EXPECTED = {1000, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004, 2005, 2006, 2008, -32602}
DECISIONS = ("allow_once", "allow_session", "allow_always", "deny", "deny")
SCRIPTED = (
    "", "", "", "!say yes indeed", "!slow 1 30", "!slow 3 60", "!slow 0 400", "!slow 20 5", "!status 500", "!cut",
    "!rate-limited 1", "!silent", "!truncated", "!error-midstream", "!garbage-between", "!same-ids clock",
    '!tool clock {"zone": 7}', "!tool nothing {}", "!tool effects_append {}", "!broken-arguments clock",
    "APPEND", "APPEND", "APPEND slowly", "ASK", "ASK", "!cut-in-call", "!ping-pong clock calculator",
)  # fmt: skip
DEMO = ("count to 5", "count to 20", "count to 60", "count to 400", "hello", "APPEND", "APPEND slowly", "ASK", "ASK")


class Person:
    """One user with some lines. `url` is where the gateway is now; `paused` stops what he does."""

    def __init__(self, user: str, book: Book, chance: random.Random, *, scripted: bool, lines: int) -> None:
        self.user, self.book, self.chance, self.scripted = user, book, chance, scripted
        self.ears = [Ear(book, user, f"{user} {number}") for number in range(lines)]
        self.lines: list[Line] = []
        self.http: aiohttp.ClientSession
        self.url = ""
        self.deaf = False
        self.numbers = 0
        self.asked: list[str] = []
        """Questions that were seen, answered ones too."""
        self.calls: dict[str, Any] = {}
        """key -> the answer of a direct call."""
        self.later: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ lines

    async def arrive(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http, self.deaf = url, http, False
        self.lines = [Line(ear) for ear in self.ears]
        for line in self.lines:
            await self._open(line)

    async def _open(self, line: Line) -> None:
        await line.open("ws" + self.url.removeprefix("http") + "/ws")
        for session, following in list(line.ear.sessions.items()):
            if following.told and self.chance.random() < 0.6:
                with contextlib.suppress(Refused, Gone):
                    await self._subscribe(line, session, following.told)

    async def leave(self) -> None:
        for task in self.later:
            task.cancel()
        await asyncio.gather(*self.later, return_exceptions=True)
        for line in self.lines:
            await line.close(rudely=True)

    def deafen(self) -> None:
        """From now on nothing was told."""
        self.deaf = True
        for line in self.lines:
            line.dead = True
            line.ear.lost()

    async def reconnect(self, line: Line) -> None:
        if line in self.lines:
            at = self.lines.index(line)
            self.lines[at] = Line(line.ear)
            await line.close(rudely=self.chance.random() < 0.5)
            await self._open(self.lines[at])

    # ------------------------------------------------------------ what is said

    def _new(self, session: str) -> Said:
        self.numbers += 1
        mark = f"<{self.user}-{self.numbers}>"
        text = self.chance.choice(SCRIPTED if self.scripted else DEMO)
        call = {"line": mark} | ({"seconds": 0.05} if "slowly" in text else {})
        if text.startswith(("APPEND", "ASK")):
            name = "effects_append" if text.startswith("APPEND") else "effects_ask"
            text = ("!tool " if self.scripted else "use ") + f"{name} {json.dumps(call)}"
        key = f"k{self.numbers}" if self.chance.random() < 0.6 else None
        said = Said(self.user, session, f"{text}\n{mark}", mark, key)
        said.after_delete = self.book.deleted.get((self.user, session), 0)
        self.book.said.append(said)
        return said

    def _params(self, said: Said) -> dict[str, Any]:
        said.sent += 1
        params: dict[str, Any] = {"text": said.text, "session_key": said.session}
        if said.key is not None:
            params["idempotency_key"] = said.key
        return params

    def _mine(self) -> list[Said]:
        return [said for said in self.book.said[-60:] if said.user == self.user]

    async def _say(self, line: Line, said: Said, *, whole: bool, **more: Any) -> None:
        if whole:
            await line.call("chat.send", lambda r: self.book.accepted(said, r), **self._params(said), **more)
        else:
            await line.call("chat.send_stream", lambda r: line.ear.began(said, r), **self._params(said), **more)

    async def say(self, line: Line) -> None:
        said = self._new(self.chance.choice(SESSIONS))
        await self._say(line, said, whole=self.chance.random() < 0.25)

    async def repeat(self, line: Line) -> None:
        """The same under the same key, on two lines at once."""
        old = [said for said in self._mine() if said.key]
        said = self.chance.choice(old) if old and self.chance.random() < 0.6 else self._new("one")
        if said.key is None:
            said.key = f"key of {said.mark}" if not said.message_id and said is self.book.said[-1] else None
            if said.key is None:
                return
        lines = [line, self.chance.choice([each for each in self.lines if each.socket is not None] or [line])]
        whole = [self.chance.random() < 0.3 for _ in lines]
        done = await asyncio.gather(
            *(self._say(a, said, whole=b) for a, b in zip(lines, whole, strict=True)), return_exceptions=True
        )
        for error in done:
            if isinstance(error, Refused) and error.code == 1003 and said.gone_for_sure:
                continue
            if isinstance(error, BaseException):
                raise error

    async def other_text(self, line: Line) -> None:
        old = [said for said in self._mine() if said.key and said.message_id]
        if old:
            said = self.chance.choice(old)
            params = self._params(said) | {"text": said.text + " no", "session_key": said.session}
            try:
                await line.call("chat.send_stream", **params)
            except Refused as refused:
                if refused.code not in (1008, 1007):
                    self.book.broken(f"other text under a key: {refused}")
            else:
                self.book.broken(f"other text under {said.key} was accepted")

    async def edit(self, line: Line) -> None:
        old = [said for said in self._mine() if said.message_id]
        if old:
            before = self.chance.choice(old[-4:])
            await self._say(line, self._new(before.session), whole=False, replaces=before.message_id)

    async def command(self, line: Line) -> None:
        session, text = self.chance.choice(SESSIONS), self.chance.choice(COMMANDS)
        said = Said(self.user, session, text, "")
        await self._say(line, said, whole=self.chance.random() < 0.5)

    async def abort(self, line: Line) -> None:
        mine = [said for said in self._mine() if said.message_id]
        if mine and self.chance.random() < 0.6:
            await line.call("chat.abort", message_id=self.chance.choice(mine[-5:]).message_id)
        else:
            await line.call("chat.abort", session_key=self.chance.choice(SESSIONS))

    async def burst(self, line: Line) -> None:
        """Several things in one frame."""
        session, batch, futures = self.chance.choice(SESSIONS), [], []
        for _ in range(self.chance.randrange(2, 6)):
            kind = self.chance.random()
            if kind < 0.6:
                said = self._new(session)
                future, body = line.request(
                    "chat.send_stream",
                    self._params(said),
                    lambda r, said=said: line.ear.began(said, r),
                )
            elif kind < 0.8:
                future, body = line.request("chat.abort", {"session_key": session})
            else:
                future, body = line.request("chat.history", {"session_key": session})
            futures.append(future)
            batch.append(body)
        self.book.operations += len(batch)
        await line.send(batch)
        if self.chance.random() < 0.2:
            await self.reconnect(line)
        await asyncio.gather(*futures, return_exceptions=True)

    # ------------------------------------------------------------ reading along

    async def _subscribe(self, line: Line, session: str, after: int | None) -> None:
        params = {"session_key": session} | ({} if after is None else {"after_seq": after})
        async with line.order:
            await line.call("session.subscribe", lambda r: line.ear.subscribed(session, after, r), **params)

    async def subscribe(self, line: Line) -> None:
        session = self.chance.choice(SESSIONS)
        told = line.ear.of(session).told
        after = self.chance.choice((None, told, told, max(0, told - self.chance.randrange(40)), 0))
        await self._subscribe(line, session, after)

    async def unsubscribe(self, line: Line) -> None:
        session = self.chance.choice(SESSIONS)
        async with line.order:
            await line.call("session.unsubscribe", lambda _: line.ear.unsubscribed(session), session_key=session)

    async def read(self, line: Line) -> None:
        session = self.chance.choice(SESSIONS)
        match self.chance.randrange(4):
            case 0:
                await line.call("chat.history", session_key=session, limit=self.chance.randrange(1, 60))
            case 1:
                await line.call("session.list")
            case 2:
                await line.call("session.search", query=self.user)
            case _:
                await line.call("session.rename", session_key=session, title=f"a title {self.numbers}")

    async def delete(self, line: Line) -> None:
        session = self.chance.choice(SESSIONS)
        sure = [s for s in self.book.said if (s.user, s.session) == (self.user, session) and s.seq]
        place = (self.user, session)
        self.book.deletions[place] = self.book.deletions.get(place, 0) + 1
        try:
            await line.call("session.delete", session_key=session)
        except Refused as refused:
            if refused.code == 1003:
                return
            raise
        self.book.deleted[place] = self.book.deleted.get(place, 0) + 1
        for said in sure:
            said.gone_for_sure = True

    async def hang_up(self, line: Line) -> None:
        """In the middle of a request that was just sent."""
        said = self._new(self.chance.choice(SESSIONS))
        _, body = line.request("chat.send_stream", self._params(said), lambda r: line.ear.began(said, r))
        await line.send(body)
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        await self.reconnect(line)

    # ------------------------------------------------------------ tools and questions

    async def answer(self, line: Line) -> None:
        listed = (await line.call("approval.list"))["approvals"]
        for one in listed:
            if one["approval_id"] not in self.asked:
                self.asked.append(one["approval_id"])
        if self.asked:
            approval, decision = self.chance.choice(self.asked[-3:]), self.chance.choice(DECISIONS)
            if self.chance.random() < 0.3:
                said = Said(self.user, "one", f"/{'deny' if decision == 'deny' else 'approve'} {approval}", "")
                await self._say(line, said, whole=False)
            else:
                await line.call("approval.resolve", approval_id=approval, decision=decision)

    async def call_tool(self, line: Line) -> None:
        """A call of one's own, under a key that may have been used."""
        if self.calls and self.chance.random() < 0.5:
            key = self.chance.choice(list(self.calls)[-4:])
        else:
            self.numbers += 1
            key = f"<{self.user}-{self.numbers}>"
        arguments = {"line": key, "seconds": 0.0}
        before = self.calls.setdefault(key, None)
        result = await line.call("tools.call", name="effects_append", arguments=arguments, idempotency_key=key)
        if before is not None and before["content"] != result["content"]:
            self.book.broken(f"{key} was answered twice: {before}, {result}")
        self.calls[key] = result

    # ------------------------------------------------------------ over HTTP

    async def over_http(self, line: Line) -> None:
        """`chat.send_stream` as an event stream, heard by an ear of its own; perhaps cut."""
        said = self._new(self.chance.choice(SESSIONS))
        body = {"jsonrpc": "2.0", "id": 1, "method": "chat.send_stream", "params": self._params(said)}
        ear = Ear(self.book, self.user, f"{self.user} over HTTP {said.mark}")
        most = self.chance.choice((0, 1, 3, 1000, 1000, 1000))
        ended = False
        async with self.http.post(self.url + "/api/v1/rpc", json=body, headers=bearer(self.user)) as response:
            if response.content_type != "text/event-stream":
                raise Refused((await response.json())["error"])
            async for row in response.content:
                if self.deaf:
                    return
                if not row.startswith(b"data: "):
                    continue
                frame = json.loads(row[6:])
                if "result" in frame:
                    ear.began(said, frame["result"])
                else:
                    ear.hear(frame["params"])
                    ended = said.message_id in ear.of(said.session).ended
                most -= 1
                if most < 0:
                    return
        if not ended and not self.book.rough:
            raise Gone

    async def openai(self, line: Line) -> None:
        """As an OpenAI client, with a session or without; perhaps cut."""
        self.numbers += 1
        mark = f"<{self.user}-{self.numbers}>"
        body = {"model": "gateway", "stream": self.chance.random() < 0.7,
                "messages": [{"role": "user", "content": f"count to 30 {mark}"}]}  # fmt: skip
        headers = bearer(self.user)
        if self.chance.random() < 0.5:
            session = self.chance.choice(SESSIONS)
            headers |= {"X-Session-Key": session, "Idempotency-Key": f"k{self.numbers}"}
            said = Said(self.user, session, f"count to 30 {mark}", mark, f"k{self.numbers}")
            said.after_delete = self.book.deleted.get((self.user, session), 0)
            self.book.said.append(said)
        timeout = aiohttp.ClientTimeout(total=self.chance.choice((0.01, 0.05, 8, 8)))
        with contextlib.suppress(TimeoutError):
            async with self.http.post(
                self.url + "/v1/chat/completions", json=body, headers=headers, timeout=timeout
            ) as response:
                await response.read()

    # ------------------------------------------------------------ a life

    async def live(self, operations: int) -> None:
        """That many things, one after another, some of them beside each other."""
        deeds: list[tuple[int, Callable[[Line], Awaitable[None]]]] = [
            (30, self.say), (8, self.repeat), (3, self.other_text), (7, self.edit), (8, self.command), (10, self.abort),
            (6, self.burst), (10, self.subscribe), (4, self.unsubscribe), (5, self.read), (3, self.delete),
            (4, self.hang_up), (6, self.answer), (5, self.call_tool), (5, self.over_http), (4, self.openai),
        ]  # fmt: skip
        weights = [weight for weight, _ in deeds]
        for _ in range(operations):
            (deed,) = self.chance.choices([each for _, each in deeds], weights)
            line = self.chance.choice([line for line in self.lines if line.socket is not None] or [None])
            if line is None:
                await asyncio.sleep(0.001)
                continue
            task = asyncio.get_running_loop().create_task(self._do(deed, line))
            self.later.add(task)
            task.add_done_callback(self.later.discard)
            if len(self.later) > 12:
                await asyncio.wait(self.later, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
            elif self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.choice((0, 0, 0.001, 0.004, 0.015)))

    async def _do(self, deed: Callable[[Line], Awaitable[None]], line: Line) -> None:
        self.book.operations += 1
        try:
            await deed(line)
        except Refused as refused:
            if refused.code not in EXPECTED:
                self.book.broken(f"{self.user} {deed.__name__}: {refused}")
        except (Gone, OSError, aiohttp.ClientError):
            pass  # the gateway is stopping, or he hung up himself
        except Exception as error:  # noted, so that the run ends with it
            if "Invalid" in type(error).__name__ or "Connection" in type(error).__name__:
                return
            self.book.broken(f"{self.user} {deed.__name__}: {error!r}")
