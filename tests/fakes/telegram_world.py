"""What Telegram knows: chats and what a person sees in them, people, updates not yet confirmed.

Pure: no sockets. Raises `Refused` for what the Bot API answers with an error.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
EPOCH = 1_700_000_000


class Refused(Exception):
    """An answer `{"ok": false}`."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@dataclass
class Shown:
    """A message as it stands in the chat."""

    message_id: int
    chat: int
    text: str
    from_bot: bool
    sender: int
    entities: list[Json] = field(default_factory=list)
    buttons: list[list[Json]] = field(default_factory=list)
    reply_to: int | None = None
    thread: int | None = None
    media: str = ""
    size: int = 0
    reactions: list[str] = field(default_factory=list)
    edits: int = 0


@dataclass
class Chat:
    id: int
    type: str = "private"
    title: str = ""
    forum: bool = False
    messages: dict[int, Shown] = field(default_factory=dict)
    drafts: dict[int, str] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    moved_to: int | None = None
    blocked: bool = False
    calls: list[tuple[float, str]] = field(default_factory=list)
    last_id: int = 0


class World:
    """One bot's Telegram. `clock` can be turned for flood control."""

    def __init__(self, *, bot_id: int = 1, username: str = "b_bot", drafts: bool = True) -> None:
        self.bot_id = bot_id
        self.username = username
        self.drafts = drafts
        self.chats: dict[int, Chat] = {}
        self.updates: dict[int, Json] = {}
        self.history: dict[int, Json] = {}
        self.files: dict[str, bytes] = {}
        self.commands: dict[str, list[Json]] = {}
        self.answered_taps: list[tuple[str, str]] = []
        self.open_taps: set[str] = set()
        """Callback queries that may be answered: Telegram lets go of one after about 15 s."""
        self.webhook: Json = {}
        self.confirmed_up_to = 0
        self._ids = itertools.count(100)
        self._update_ids = itertools.count(5000)
        self._query_ids = itertools.count(1)

    # ------------------------------------------------------------ what people do

    def chat(self, chat: int | str, kind: str = "") -> Chat:
        number = int(chat)
        if number not in self.chats:
            guessed = kind or ("private" if number > 0 else "supergroup")
            self.chats[number] = Chat(number, guessed, title="Group" if number < 0 else "")
        return self.chats[number]

    def person_says(self, chat: int | str, text: str, *, user: int | str | None = None, **extra: Any) -> int:
        """A person writes; the message's id comes back."""
        room = self.chat(chat)
        number = self._next_id(room)
        sender = int(user if user is not None else abs(int(chat)))
        message = self._message(room, number, sender, extra.pop("sender", {}))
        message["text"] = text
        message["entities"] = _entities_of(text, self.username)
        if reply := extra.pop("reply_to", None):
            message["reply_to_message"] = self._as_json(room, room.messages[int(reply)])
        if thread := extra.pop("thread", None):
            message |= {"message_thread_id": int(thread), "is_topic_message": True}
        message |= extra
        room.messages[number] = Shown(number, room.id, text, False, sender, thread=message.get("message_thread_id"))
        self._put({"message": message})
        return number

    def person_edits(self, chat: int | str, message_id: int, text: str, *, user: int | str | None = None) -> None:
        room = self.chat(chat)
        shown = room.messages[int(message_id)]
        shown.text, shown.edits = text, shown.edits + 1
        message = self._message(room, shown.message_id, int(user if user is not None else shown.sender), {})
        edited = int(time.time()) + shown.edits
        self._put({"edited_message": message | {"text": text, "edit_date": edited, "entities": []}})

    def person_sends(
        self, chat: int | str, kind: str, data: bytes, *, caption: str = "", album: str = "", name: str = "",
        mime: str = "", said_size: int | None = None, user: int | str | None = None,
    ) -> int:  # fmt: skip
        """A file: kind `photo`, `voice`, `document`, `audio` or `video`."""
        room = self.chat(chat)
        number = self._next_id(room)
        sender = int(user if user is not None else abs(int(chat)))
        identifier = f"file{number}"
        self.files[identifier] = data
        size = said_size if said_size is not None else len(data)
        found: Json = {"file_id": identifier, "file_unique_id": identifier, "file_size": size}
        if name:
            found["file_name"] = name
        if mime:
            found["mime_type"] = mime
        message = self._message(room, number, sender, {})
        if kind == "photo":
            small = {**found, "file_id": "small", "width": 90, "height": 90, "file_size": 10}
            message["photo"] = [small, {**found, "width": 800, "height": 800}]
        else:
            message[kind] = {**found, "duration": 1} if kind in ("voice", "audio") else found
        if caption:
            message |= {"caption": caption, "caption_entities": _entities_of(caption, self.username)}
        if album:
            message["media_group_id"] = album
        room.messages[number] = Shown(number, room.id, caption, False, sender, media=kind)
        self._put({"message": message})
        return number

    def tap(self, chat: int | str, label: str, *, user: int | str | None = None, message_id: int | None = None) -> str:
        """Press the button with `label`; the callback's id."""
        room = self.chat(chat)
        with_button = [m for m in room.messages.values() if any(label in b["text"] for row in m.buttons for b in row)]
        shown = room.messages[message_id] if message_id else with_button[-1]
        data = next((b["callback_data"] for row in shown.buttons for b in row if label in b["text"]), "")
        return self.tap_data(chat, shown.message_id, data, user=user)

    def tap_data(self, chat: int | str, message_id: int, data: str, *, user: int | str | None = None) -> str:
        room = self.chat(chat)
        identifier = str(next(self._query_ids))
        self.open_taps.add(identifier)
        sender = int(user if user is not None else abs(int(chat)))
        self._put({"callback_query": {
            "id": identifier, "from": _user(sender, {}), "chat_instance": "1", "data": data,
            "message": self._as_json(room, room.messages[int(message_id)]),
        }})  # fmt: skip
        return identifier

    def person_reacts(self, chat: int | str, message_id: int, user: int | str) -> None:
        room = self.chat(chat)
        self._put({"message_reaction": {
            "chat": self._chat_json(room), "message_id": int(message_id), "user": _user(int(user), {}),
            "date": EPOCH, "old_reaction": [], "new_reaction": [{"type": "emoji", "emoji": "👍"}],
        }})  # fmt: skip

    def person_joins(self, chat: int | str, user: int | str) -> None:
        room = self.chat(chat)
        number = self._next_id(room)
        message = self._message(room, number, int(user), {})
        self._put({"message": message | {"new_chat_members": [_user(int(user), {})]}})

    def group_moves(self, chat: int | str, new: int | str) -> None:
        """A group becomes a supergroup."""
        room = self.chat(chat)
        room.moved_to = int(new)
        self.chat(new, "supergroup").title = room.title
        number = self._next_id(room)
        self._put({"message": self._message(room, number, 1, {}) | {"migrate_to_chat_id": int(new)}})
        self.moved_here(chat, new)

    def moved_here(self, chat: int | str, new: int | str) -> None:
        """What a supergroup begins with, when it was a group."""
        there = self.chat(new, "supergroup")
        message = self._message(there, self._next_id(there), 1087968824, {"is_bot": True})
        self._put({"message": message | {"sender_chat": self._chat_json(there), "migrate_from_chat_id": int(chat)}})

    def person_deletes(self, chat: int | str, message_id: int | str) -> None:
        self.chat(chat).messages.pop(int(message_id), None)

    def block(self, chat: int | str) -> None:
        self.chat(chat).blocked = True

    def put_again(self, update_id: int, update: Json) -> None:
        """A duplicate: an update that was delivered before."""
        self.updates[update_id] = update

    def visible(self, chat: int | str) -> list[str]:
        """What the bot wrote, as it reads now, in order."""
        return [m.text or f"[{m.media}]" for m in self.chat(chat).messages.values() if m.from_bot]

    def bot_messages(self, chat: int | str) -> list[Shown]:
        return [m for m in self.chat(chat).messages.values() if m.from_bot]

    def has_buttons(self, chat: int | str) -> bool:
        return any(m.buttons for m in self.bot_messages(chat))

    def pending(self) -> list[int]:
        """Updates that are not confirmed."""
        return sorted(self.updates)

    # ------------------------------------------------------------ helpers

    def _next_id(self, room: Chat) -> int:
        """A supergroup counts its own messages; private chats and small groups share one count, the bot's."""
        if room.type != "supergroup":
            return next(self._ids)
        room.last_id += 1
        return room.last_id

    def _put(self, update: Json) -> None:
        number = next(self._update_ids)
        self.updates[number] = self.history[number] = {"update_id": number, **update}

    def _message(self, room: Chat, number: int, sender: int, extra: Json) -> Json:
        return {
            "message_id": number, "date": int(time.time()), "chat": self._chat_json(room), "from": _user(sender, extra),
        }  # fmt: skip

    def _chat_json(self, room: Chat) -> Json:
        if room.type == "private":
            return {"id": room.id, "type": "private", "first_name": "U"}
        return {"id": room.id, "type": room.type, "title": room.title or "Group", "is_forum": room.forum}

    def _as_json(self, room: Chat, shown: Shown) -> Json:
        sender = _user(self.bot_id, {"is_bot": True}) if shown.from_bot else _user(shown.sender, {})
        out: Json = {
            "message_id": shown.message_id, "date": int(time.time()), "chat": self._chat_json(room),
            "from": sender, "text": shown.text,
        }  # fmt: skip
        if shown.thread:
            out |= {"message_thread_id": shown.thread, "is_topic_message": True}
        return out

    def new_message(self, room: Chat, text: str, **extra: Any) -> Json:
        """The bot writes."""
        number = self._next_id(room)
        shown = Shown(number, room.id, text, True, self.bot_id, **extra)
        room.messages[number] = shown
        room.drafts.clear()
        return self._as_json(room, shown)


def _user(number: int, extra: Json) -> Json:
    return {"id": number, "is_bot": False, "first_name": f"U{number}", "language_code": "en", **extra}


def _entities_of(text: str, username: str) -> list[Json]:
    found = []
    if text.startswith("/"):
        found.append({"type": "bot_command", "offset": 0, "length": utf16(text.split()[0])})
    at = text.find(f"@{username}")
    if at >= 0 and not text.startswith("/"):
        found.append({"type": "mention", "offset": utf16(text[:at]), "length": utf16(f"@{username}")})
    return found
