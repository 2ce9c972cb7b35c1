"""`chat.*`: messages in, answers out, and what was said.

Above is the method table; below are the bus (a message is handed in there like any channel's), the
hub for what follows, the log for what was. A turn belongs to the loop, never to a connection: a
client that leaves loses only its reply.
"""

import base64
import binascii
import time
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from bus import codec
from bus.context import current_trace_id, new_id, timestamp
from bus.errors import BadParameters
from bus.events import Accepted, ChatDone, ChatError, InboundMessage, JsonObject, MediaRef, SessionEvent, TurnOptions
from bus.keys import SessionKey
from bus.message_bus import Inbound
from bus.wording import is_chinese
from gateway.handlers.access import Access, Found
from gateway.handlers.call import Call, Params
from gateway.handlers.dispatch import Method, method
from gateway.handlers.endings import Endings, as_error
from gateway.handlers.ports import Sessions, Turns
from gateway.hub import Hub
from gateway.identity.media import MediaFolder
from gateway.reading import Reading
from gateway.started import StartedTurns

MAX_MEDIA = 20
LOOKED_AT = 1000
"""Characters of a message that tell the language in which we speak ourselves with somebody who chose none."""
Text = Annotated[str, Field(max_length=4_194_304)]
KeyText = Annotated[str, Field(min_length=1, max_length=4096)]


class Attachment(Params):
    """`{media_id}` of an uploaded file, or `{data, mime, name}` with base64 data."""

    media_id: str | None = None
    data: str | None = None
    mime: str = "application/octet-stream"
    name: str = "file"


class Send(Params):
    """Params of `chat.send` and `chat.send_stream`."""

    text: Text
    session_key: KeyText | None = None
    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    media: Annotated[list[Attachment], Field(max_length=MAX_MEDIA)] | None = None
    replaces: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class Abort(Params):
    session_key: KeyText | None = None
    message_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class History(Params):
    session_key: KeyText
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    before_seq: Annotated[int, Field(ge=0)] | None = None


class ChatMethods:
    """The family."""

    def __init__(
        self, *, inbound: Inbound, hub: Hub, access: Access, sessions: Sessions, turns: Turns, media: MediaFolder,
        started: StartedTurns, language: Callable[[str], str | None],
    ) -> None:  # fmt: skip
        self._inbound = inbound
        self._hub = hub
        self._access = access
        self._sessions = sessions
        self._turns = turns
        self._media = media
        self._started = started
        self._language = language
        self._endings = Endings(sessions)

    def table(self) -> list[Method]:
        return [
            method("chat.send", "chat", Send, self.send),
            method("chat.send_stream", "chat", Send, self.send_stream),
            method("chat.abort", "chat", Abort, self.abort),
            method("chat.history", "chat read", History, self.history),
        ]

    async def send(self, call: Call, params: Send) -> JsonObject:
        """Say something and wait for the whole answer."""
        message = await self.message(call, params)
        ending = await self.finish(call, message)
        if isinstance(ending, ChatError):
            raise as_error(ending)
        return {
            "message_id": ending.message_id, "session_key": ending.session.text, "text": ending.text,
            "timestamp": ending.at or timestamp(), "finish_reason": ending.finish_reason,
            "usage": codec.params(ending)["usage"],
        }  # fmt: skip

    async def finish(self, call: Call, message: InboundMessage) -> ChatDone | ChatError:
        """Hand a message in and wait for its end."""
        watched, future = message.message_id, self._hub.expect(message.message_id)
        try:
            accepted = await self.submit(call, message)
            if accepted.message_id != watched:
                self._hub.give_up(watched, future)
                watched, future = accepted.message_id, self._hub.expect(accepted.message_id)
                ended = await self._ended(accepted)
                if ended is not None:
                    return ended
            return await future
        finally:
            self._hub.give_up(watched, future)

    async def send_stream(self, call: Call, params: Send) -> JsonObject:
        """Say something; the answer follows as events."""
        accepted = await self.begin(call, await self.message(call, params))
        return {"message_id": accepted.message_id, "session_key": accepted.session.text, "seq": accepted.seq}

    async def begin(self, call: Call, message: InboundMessage) -> Accepted:
        """Hand a message in; its events go to the caller's reader once the reply is on its way."""
        if call.reader is None:
            return await self.submit(call, message)
        reading = self._hub.hold(call.reader, message.session)
        try:
            accepted = await self.submit(call, message)
            missed, running = await self._so_far(accepted)
        except BaseException:  # cancelled, too: a reading that nobody releases holds events for ever
            self._hub.release(reading)
            raise
        call.after_reply.append(lambda: self._follow(reading, accepted, missed, running))
        return accepted

    def _follow(self, reading: Reading, accepted: Accepted, missed: list[SessionEvent], running: bool) -> None:
        self._hub.follow(reading, accepted, missed, running=running)

    async def _so_far(self, accepted: Accepted) -> tuple[list[SessionEvent], bool]:
        """For a repeated message: what is kept of its turn, and whether it goes on."""
        if not accepted.repeated:
            return [], True
        ended = await self._ended(accepted)
        kept = self._hub.kept_of(accepted.session, accepted)
        if ended is not None and not any(isinstance(event, ChatDone | ChatError) for event in kept):
            kept.append(ended)
        return kept, ended is None

    async def _ended(self, accepted: Accepted) -> ChatDone | ChatError | None:
        """How a repeated message ended; None while it goes on. An end that is not told yet is not on the disk yet:
        it comes to this reader as to all others.
        """
        ended = await self._endings.find(accepted)
        told = self._hub.last_seq(accepted.session)
        return None if ended is not None and told is not None and (ended.seq or 0) > told else ended

    async def submit(self, call: Call, message: InboundMessage) -> Accepted:
        """Hand a message in; one after another for each connection."""
        async with call.submission:
            accepted = await self._inbound.submit(message)
        if not accepted.repeated:
            self._started.note(call.who.token_id, call.who.user, accepted)
        return accepted

    async def message(self, call: Call, params: Send) -> InboundMessage:
        """The message that the params describe, from this principal."""
        found = await self._access.open(params.session_key, call.who)
        if not params.text and not params.media:
            raise BadParameters("text: say something")
        media = await self._attachments(params.media or [], call.who.user)
        if params.replaces is not None:
            await self._check_replaced(found, params.replaces, call.who.user)
        return self.compose(
            call, found.key, params.text, media=media, replaces=params.replaces, idempotency_key=params.idempotency_key
        )

    def compose(
        self, call: Call, key: SessionKey, text: str, *, media: tuple[MediaRef, ...] = (),
        replaces: str | None = None, idempotency_key: str | None = None, ephemeral: bool = False,
        options: TurnOptions | None = None,
    ) -> InboundMessage:  # fmt: skip
        """A message of this principal, with an id of its own."""
        spoken = "zh" if is_chinese(text[:LOOKED_AT]) else "en"
        language = self._language(call.who.user) or call.language or spoken
        actor = call.who.actor(channel=call.channel, language=language)
        return InboundMessage(
            session=key, actor=actor, text=text, message_id=new_id("msg"),
            received_at=time.time(), media=media, idempotency_key=idempotency_key, replaces=replaces,
            origin=call.origin, ephemeral=ephemeral, options=options, trace_id=current_trace_id(),
        )  # fmt: skip

    async def _check_replaced(self, found: Found, message_id: str, user: str) -> None:
        records = await self._sessions.read(found.key, types=frozenset({"message"})) if found.exists else []
        for record in records:
            if record.data.get("message_id") == message_id:
                if record.data.get("actor", {}).get("user") == user:
                    return
                break
        raise BadParameters("replaces: no earlier message of yours in this session")

    async def _attachments(self, items: list[Attachment], owner: str) -> tuple[MediaRef, ...]:
        out = []
        for item in items:
            if (item.media_id is None) == (item.data is None):
                raise BadParameters("media: each is {media_id} or {data, mime, name}")
            if item.media_id is not None:
                out.append(await self._media.find(item.media_id, owner))
                continue
            try:
                data = base64.b64decode(item.data or "", validate=True)
            except (binascii.Error, ValueError) as error:
                raise BadParameters("media: data is base64") from error
            out.append(await self._media.save(data, mime=item.mime, name=item.name, owner=owner))
        return tuple(out)

    async def abort(self, call: Call, params: Abort) -> JsonObject:
        """Stop the answer in progress."""
        if params.session_key is None and params.message_id is None:
            raise BadParameters("give session_key or message_id")
        key = None
        if params.session_key is not None:
            key = (await self._access.existing(params.session_key, call.who)).key
        return {"aborted": await self._turns.abort(user=call.who.user, key=key, message_id=params.message_id)}

    async def history(self, call: Call, params: History) -> JsonObject:
        """What was said, oldest first."""
        found = await self._access.existing(params.session_key, call.who)
        messages, more = await self._sessions.history(found.key, limit=params.limit, before_seq=params.before_seq)
        return {"messages": list(messages), "has_more": more}
