"""Asking the person at this bridge: challenges, and what was allowed for longer.

A challenge belongs to one call: its id, its tool and the hash of its arguments. It is answered once, by the chat
(`ctl.confirm`) or the terminal (`ai-bridge approve`), and nothing said in `ask_timeout` is a no. Both live in the
bridge's database: the terminal is another process, and a restart forgets neither question nor grant. `calls.py`
stands above; what may be asked at all is `policy.py`'s.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridge.database import Database
from bridge.errors import Forbidden, ToolDenied
from bridge.protocol.frames import JsonObject
from bridge.settings import PolicySettings

Decision: TypeAlias = Literal["allow_once", "allow_session", "allow_always", "deny"]
DECISIONS: frozenset[str] = frozenset({"allow_once", "allow_session", "allow_always", "deny"})
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_LOOK_SECONDS = 0.2
_SHOWN_CHARS = 16_000
_TERMINAL_ONLY = "only the terminal of the bridge may allow this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `content` is the ledger's hash of the call; `dangerous`: no grant may come of it."""

    call_id: str
    tool: str
    content: str
    arguments: JsonObject
    user: str
    session: str
    risk: str
    dangerous: bool


@dataclass(slots=True)
class _Open:
    question: Question
    answered: "asyncio.Future[str]"
    expires: float
    local: bool
    until: float
    """Monotonic: a wall clock that is set back gives nobody more time."""

    @property
    def left(self) -> float:
        """Seconds."""
        return min(self.expires - time.time(), self.until - time.monotonic())


class Confirmations:
    """The questions of one bridge. `settings` gives the policy of the moment, which a reload may change."""

    def __init__(self, database: Database, settings: Callable[[], PolicySettings]) -> None:
        self._database = database
        self._settings = settings
        self.closing = False
        """The bridge stops: open questions are kept, and may be answered after the restart."""
        self._open: dict[str, _Open] = {}
        self._before: dict[tuple[object, ...], tuple[str, float]] = {
            tuple(bound): (challenge, expires)
            for challenge, expires, *bound in database.read(
                "SELECT challenge, expires, call_id, content, tool, user, local FROM challenges "
                "WHERE spent = 0 AND expires > ?", (time.time(),),
            )
        }  # fmt: skip
        """Asked before a restart, by what each is bound to: asked on under the same id, which a person was shown."""
        self._grants: set[tuple[str, str, str]] = {
            (user, tool, session) for user, tool, session in database.read("SELECT user, tool, session FROM grants")
        }
        self._terminal_grants: set[tuple[str, str, str]] = {
            (user, tool, session)
            for user, tool, session in database.read("SELECT user, tool, session FROM terminal_grants")
        }
        """Those of them that the terminal gave: under `confirm: local` no others count."""

    # ------------------------------------------------------------ asking

    async def ask(self, question: Question, announce: Callable[[JsonObject], None]) -> None:
        """Ask, and return when the person said yes. Raises ToolDenied for a no, and for silence.

        `announce` gets the payload of `PROGRESS`, and once more whenever `repeat` is called.
        """
        settings = self._settings()
        local = settings.confirm == "local"
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        bound = (question.call_id, question.content, question.tool, question.user, int(local))
        challenge, expires = self._before.pop(bound, ("", 0.0))
        asked_before = 0 < expires - time.time() <= settings.ask_timeout
        if not asked_before:
            challenge = "".join(secrets.choice(_ALPHABET) for _ in range(16))
            expires = time.time() + settings.ask_timeout
        until = time.monotonic() + expires - time.time()
        opened = self._open[challenge] = _Open(question, future, expires, local, until)
        try:
            if not asked_before:
                await self._keep(challenge, opened)
            announce(self._payload(challenge, opened))
            decision, terminal = await self._wait(challenge, opened)
        finally:
            del self._open[challenge]
            if not self.closing:
                self._database.write(("UPDATE challenges SET spent = 1, shown = '' WHERE challenge = ?", (challenge,)))
        self._apply(question, decision, terminal=terminal)

    async def _keep(self, challenge: str, opened: _Open) -> None:
        question = opened.question
        await self._database.commit(
            (
                "INSERT INTO challenges (challenge, call_id, tool, content, user, shown, risk, expires, local) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    challenge, question.call_id, question.tool, question.content, question.user,
                    shown(question.arguments), question.risk, opened.expires, int(opened.local),
                ),
            ),
            synced=False,
        )  # fmt: skip

    def _apply(self, question: Question, decision: str, *, terminal: bool) -> None:
        if decision == "expired":
            raise ToolDenied("nobody allowed it in time")
        if decision == "deny":
            raise ToolDenied("the person said no")
        if question.dangerous or decision == "allow_once":
            return
        if decision == "allow_always":
            self._grant(question.user, question.tool, "", terminal=terminal)
        elif question.session:
            self._grant(question.user, question.tool, question.session, terminal=terminal)

    async def _wait(self, challenge: str, opened: _Open) -> tuple[str, bool]:
        """What was decided, and whether the terminal did."""
        while True:
            left = opened.left
            if left <= 0:
                return "expired", False
            done, _ = await asyncio.wait({opened.answered}, timeout=min(left, _LOOK_SECONDS))
            if done:
                return opened.answered.result(), False
            rows = self._database.read("SELECT decision FROM challenges WHERE challenge = ?", (challenge,))
            if rows and rows[0][0] is not None:
                return str(rows[0][0]), True

    def repeat(self, call_id: str) -> JsonObject | None:
        """The `PROGRESS` of the question that this call waits for, or None: for a gateway that comes back."""
        for challenge, opened in self._open.items():
            if opened.question.call_id == call_id:
                return self._payload(challenge, opened)
        return None

    def _payload(self, challenge: str, opened: _Open) -> JsonObject:
        left = max(0, int(opened.left * 1000))
        payload = {
            "state": "awaiting_confirm", "challenge": challenge, "risk": opened.question.risk,
            "arguments": _short(opened.question.arguments), "expires_in_ms": left,
        }  # fmt: skip
        return {**payload, "where": "bridge"} if opened.local else payload

    # ------------------------------------------------------------ answers

    def answer(self, confirm: JsonObject, call_id: str, content: str) -> None:
        """The chat's answer to a call that waits.

        Raises Forbidden where only the terminal's counts (nothing is spent), ToolDenied for a challenge that is
        not this call's.
        """
        challenge, decision, _ = _read(confirm)
        opened = self._open.get(challenge)
        if opened is None or opened.question.call_id != call_id or opened.question.content != content:
            raise ToolDenied("this confirmation does not belong to this call")
        if (opened.local or self._terminal_only) and decision != "deny":
            raise Forbidden(_TERMINAL_ONLY)
        if not opened.answered.done():
            opened.answered.set_result(decision)

    async def redeem(self, confirm: JsonObject, question: Question) -> None:
        """The chat's answer to a question asked before a restart of the bridge.

        Raises ToolDenied where there is no such question, it is over, or belongs to another call; Forbidden where
        only the terminal may say yes (nothing is spent).
        """
        challenge, decision, by = _read(confirm)
        rows = self._database.read(
            "SELECT call_id, content, tool, expires, local, decision, spent FROM challenges WHERE challenge = ?",
            (challenge,),
        )
        if not rows or rows[0][:3] != (question.call_id, question.content, question.tool):
            raise ToolDenied("this confirmation does not belong to this call")
        _, _, _, expires, local, before, spent = rows[0]
        if spent or before is not None or not 0 < expires - time.time() <= self._settings().ask_timeout:
            raise ToolDenied("this confirmation is spent or too late")
        if (local or self._terminal_only) and decision != "deny":
            raise Forbidden(_TERMINAL_ONLY)
        self._before = {bound: kept for bound, kept in self._before.items() if kept[0] != challenge}
        await self._database.commit(
            ("UPDATE challenges SET spent = 1, shown = '', decision = ?, by = ? WHERE challenge = ?",
             (decision, by, challenge)),
        )  # fmt: skip
        self._apply(question, decision, terminal=False)

    @property
    def _terminal_only(self) -> bool:
        """What the person's policy says by now: it may have changed since the question was asked."""
        return self._settings().confirm == "local"

    # ------------------------------------------------------------ grants

    def granted(self, user: str, tool: str, session: str) -> bool:
        """Whether the person allowed this user this tool for longer."""
        grants = self._terminal_grants if self._terminal_only else self._grants
        return (user, tool, "") in grants or (session != "" and (user, tool, session) in grants)

    def revoke(self, user: str, tool: str | None, session: str | None) -> None:
        """Take grants back: of a tool (or all tools), of a session (or all kinds)."""
        for grant in list(self._grants):
            if grant[0] == user and tool in (None, grant[1]) and session in (None, grant[2]):
                self._grants.discard(grant)
                self._terminal_grants.discard(grant)
                self._database.write(
                    ("DELETE FROM grants WHERE user = ? AND tool = ? AND session = ?", grant),
                    ("DELETE FROM terminal_grants WHERE user = ? AND tool = ? AND session = ?", grant),
                )

    def _grant(self, user: str, tool: str, session: str, *, terminal: bool) -> None:
        grant = (user, tool, session)
        self._grants.add(grant)
        self._database.write(("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?)", (*grant, time.time())))
        if terminal:
            self._terminal_grants.add(grant)
            self._database.write(("INSERT OR REPLACE INTO terminal_grants VALUES (?, ?, ?)", grant))


def approve(database: Database, challenge: str, decision: Decision = "allow_once", by: str = "terminal") -> bool:
    """The terminal's answer, from any process. False where the challenge is unknown, answered or over."""
    changed = database.change(
        "UPDATE challenges SET decision = ?, by = ? "
        "WHERE challenge = ? AND decision IS NULL AND spent = 0 AND expires > ?",
        (decision, by, challenge, time.time()),
    )
    return changed == 1


def waiting(database: Database) -> list[JsonObject]:
    """Open questions, for the terminal: `{challenge, tool, arguments, risk, user, expires}`."""
    rows = database.read(
        "SELECT challenge, tool, shown, risk, user, expires FROM challenges "
        "WHERE decision IS NULL AND spent = 0 AND expires > ? ORDER BY expires",
        (time.time(),),
    )
    names = ("challenge", "tool", "arguments", "risk", "user", "expires")
    return [dict(zip(names, row, strict=True)) for row in rows]


def shown(arguments: JsonObject) -> str:
    """Arguments as a person is shown them: JSON, cut, which is said."""
    text = json.dumps(arguments, ensure_ascii=False)
    left = len(text) - _SHOWN_CHARS
    return text if left <= 0 else f"{text[:_SHOWN_CHARS]} … ({left} more characters)"


def _short(arguments: JsonObject) -> JsonObject:
    text = json.dumps(arguments, ensure_ascii=False)
    return arguments if len(text) <= _SHOWN_CHARS else {"shortened": text[:_SHOWN_CHARS]}


def _read(confirm: JsonObject) -> tuple[str, str, str]:
    challenge, decision, by = confirm.get("challenge"), confirm.get("decision"), confirm.get("by")
    if not isinstance(challenge, str) or decision not in DECISIONS:
        raise ToolDenied("this is no confirmation")
    return challenge, str(decision), by[:128] if isinstance(by, str) else ""
