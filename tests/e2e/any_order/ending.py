"""The end of a seed: what the log says, against what was told. Beside it is `world.py`, which brought it about."""

import json
from collections import Counter
from typing import Any

from tests.e2e.any_order.book import Book, Said
from tests.e2e.any_order.line import Refused
from tests.e2e.any_order.person import SESSIONS, Person
from tests.gateway.edge.harness import Running


class Ending:
    """`done` are the lines that tools left behind, and how often."""

    def __init__(self, people: list[Person], book: Book, done: Counter[str], served: Running) -> None:
        self.people, self.book, self.done, self.served = people, book, done, served
        self.calls: dict[str, set[str]] = {}
        """line -> the messages in whose turns a tool was called with it."""

    async def check(self) -> None:
        for person in self.people:
            for line in person.lines:
                if not line.dead:
                    self._ear(person, line)
            for session in SESSIONS:
                await self._session(person, session)
        for line, count in self.done.items():
            # What joined another's turn has one of its own after a restart, and its tools may be asked for again.
            most = max(1, len(self.calls.get(line, ())))
            deleted = any(
                said.mark == line and (said.user, said.session) in self.book.deletions for said in self.book.said
            )
            if count > most and not deleted:
                self.book.broken(f"{line} was done {count} times")

    def _ear(self, person: Person, line: Any) -> None:
        if line.waits:
            self.book.broken(f"{line.ear.name}: {len(line.waits)} requests were never answered")
        for session, following in line.ear.sessions.items():
            if following.turns:
                self.book.broken(f"{line.ear.name}: {session}: never told how these ended: {following.turns}")

    async def _session(self, person: Person, session: str) -> None:
        try:
            lines = (await self._ask(person, "session.export", session_key=session))["lines"]
        except Refused:
            lines = []
        records = [json.loads(line) if isinstance(line, str) else line for line in lines][1:]
        numbers = [record["seq"] for record in records]
        if numbers != sorted(set(numbers)):
            self.book.broken(f"{person.user}/{session}: numbers do not rise: {numbers}")
        messages = {r["message_id"]: r for r in records if r["type"] == "message"}
        for record in records:
            if record["type"] == "tool.started":
                self.calls.setdefault(record["arguments"].get("line", ""), set()).add(record["message_id"])
        ends: dict[str, list[Any]] = {}
        for record in records:
            if record["type"] in ("chat.done", "chat.error"):
                ends.setdefault(record["message_id"], []).append(record)
        for message_id, found in ends.items():
            self._end(person, session, message_id, found, message_id in messages)
        for message_id in messages.keys() - ends.keys():
            self.book.broken(f"{person.user}/{session}: {message_id} has no end: {messages[message_id]['text']!r}")
        for text, count in Counter(r["text"] for r in messages.values() if "<" in r["text"]).items():
            if count > 1:
                self.book.broken(f"{text!r} was accepted {count} times")
        for said in self.book.said:
            if (said.user, said.session) == (person.user, session):
                self._said(said, messages)
        self._gaps(person.user, session, records)
        await self._history(person, session, messages, ends)

    def _end(self, person: Person, session: str, message_id: str, found: list[Any], known: bool) -> None:
        where = f"{person.user}/{session} {message_id}"
        if len(found) > 1:
            self.book.broken(f"{where} ended {len(found)} times in the log")
        if not known:
            self.book.broken(f"{where} has an end and no message: {found}")
        for seq, told in self.book.ends.get(message_id, {}).items():
            if told["type"] == "chat.error" and told["code"] == 1007 and self.book.rough:
                continue
            if (seq, told.get("text")) != (found[0]["seq"], found[0].get("text")):
                self.book.broken(f"{where}: told {told}, kept {found}")

    def _said(self, said: Said, messages: dict[str, Any]) -> None:
        kept = [r for r in messages.values() if said.mark and r["text"].endswith(said.mark)]
        deleted = self.book.deletions.get((said.user, said.session), 0) > said.after_delete
        if said.gone_for_sure and kept:
            self.book.broken(f"{said.mark} was deleted and is there: {kept}")
        if said.message_id and not deleted:
            if not kept:
                self.book.broken(f"{said.mark} {said.message_id} was accepted and is gone")
            elif kept[0]["message_id"] != said.message_id or (said.seq and kept[0]["seq"] != said.seq):
                self.book.broken(f"{said.mark}: told {said.message_id} {said.seq}, kept {kept[0]}")

    def _gaps(self, user: str, session: str, records: list[Any]) -> None:
        if self.book.rough or self.book.crashed or (user, session) in self.book.deletions:
            return
        messages = {r["seq"] for r in records if r["type"] == "message"}
        for who, where, first, last, name, heard in self.book.gaps:
            if (who, where) == (user, session):
                missing = set(range(first, last + 1)) - messages
                if missing:
                    self.book.broken(f"{name}: {session}: was never told {sorted(missing)}; heard {heard}")

    async def _history(self, person: Person, session: str, messages: dict[str, Any], ends: Any) -> None:
        found: list[Any] = []
        before = None
        while True:
            params = {"session_key": session, "limit": 100} | ({} if before is None else {"before_seq": before})
            try:
                page = await self._ask(person, "chat.history", **params)
            except Refused:
                break
            found = page["messages"] + found
            if not page["has_more"] or not page["messages"]:
                break
            before = page["messages"][0]["seq"]
        said = [m["message_id"] for m in found if m["role"] == "user"]
        numbers = {message_id: record["seq"] for message_id, record in messages.items()}
        edits = [(numbers[r["replaces"]], r["seq"]) for r in messages.values() if r.get("replaces") in numbers]
        shown = [m for m, seq in numbers.items() if not any(first <= seq < last for first, last in edits)]
        if said != shown:
            odd = {m: messages[m] for m in set(said) ^ set(shown)}
            self.book.broken(f"{person.user}/{session}: the history and the log differ in {odd}")

    async def _ask(self, person: Person, method: str, **params: Any) -> Any:
        found = await self.served.rpc(method, person.user, **params)
        if "error" in found:
            raise Refused(found["error"])
        return found["result"]
