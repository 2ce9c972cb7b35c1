"""A platform on loopback with its people: what a channel's test module provides for the suite."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

Fault = Literal["rate_limited", "unavailable", "answer_lost", "blocked"]
"""`rate_limited`: 429, to be repeated after a second. `unavailable`: 503, nothing done. `answer_lost`: the
message is shown, then the connection breaks. `blocked`: refused for good."""

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


class FakePlatform(ABC):
    """A platform on loopback and its people. `42` is admitted in private, `7` is a member of the listed group."""

    name: ClassVar[str]
    remembers_nonces: ClassVar[bool]
    """A send may be repeated under its nonce."""
    limit: ClassVar[int]
    """Characters in a message."""
    has_groups: ClassVar[bool] = True
    has_threads: ClassVar[bool] = True
    has_buttons: ClassVar[bool] = True
    has_edits_by_people: ClassVar[bool] = True
    refuses_tokens: ClassVar[bool] = True
    group: ClassVar[str]
    """The listed group's id; `other_group` is not listed."""
    other_group: ClassVar[str]
    thread: ClassVar[str] = "77"

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    def section(self) -> dict[str, Any]:
        """`channels.<name>` of the configuration, without who may speak."""

    @abstractmethod
    async def person_says(
        self,
        text: str,
        *,
        person: str = "42",
        group: str | None = None,
        mentioned: bool = False,
        thread: str | None = None,
        bot: bool = False,
    ) -> str:
        """In private, or in `group` (and `thread`); the message's id on the platform."""

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        """A person changes what he said in private."""
        raise NotImplementedError

    @abstractmethod
    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        """A file in private: `photo`, `voice` or `document`."""

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        """Press the newest button whose label contains `label`."""
        raise NotImplementedError

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        """Whether a button with `label` can be pressed."""
        raise NotImplementedError

    @abstractmethod
    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        """What the assistant wrote there, as a person reads it now, in order; files as `[kind]`."""

    @abstractmethod
    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        """The next calls that show a new message fail so."""

    @abstractmethod
    async def outage(self, on: bool) -> None:
        """Every call is answered with 503, until it is over."""

    @abstractmethod
    async def deliver_again(self) -> None:
        """Bring the newest message of a person once more, as platforms do."""

    async def refuse_token(self, refused: bool) -> None:
        """The token is no longer (or again) valid."""
        raise NotImplementedError
