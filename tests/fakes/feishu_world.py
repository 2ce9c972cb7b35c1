"""What the fake Feishu holds: chats, messages, streaming cards, files, and what people see of them.

Plain data with Feishu's rules about it (one message per uuid, card updates under
a rising sequence, a streaming card closed when it says so); no sockets.
"""

import itertools
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
_count = itertools.count(1)


class Refused(Exception):
    """Feishu says no: `code` and `msg`, under an HTTP status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(f"{code} {msg}")
        self.code, self.msg, self.status = code, msg, status


def new(prefix: str) -> str:
    """An id of Feishu's shape."""
    return f"{prefix}_{next(_count):012x}"


def milliseconds() -> str:
    """Now, as Feishu writes it."""
    return str(time.time_ns() // 1_000_000)


@dataclass
class Card:
    """A card entity: its JSON, the last sequence that changed it, and how often that happened."""

    card_id: str
    body: Object
    sequence: int = 0
    updates: int = 0
    sent: bool = False
    uuids: set[str] = field(default_factory=set)

    @property
    def streaming(self) -> bool:
        """Whether its text may still be streamed, and is shown with the typing effect."""
        return bool(self.body.get("config", {}).get("streaming_mode"))

    def advance(self, sequence: int) -> None:
        """Take the next sequence. Raises Refused where it does not rise."""
        if sequence <= self.sequence:
            raise Refused(300317, "sequence number compare failed")
        self.sequence = sequence
        self.updates += 1


@dataclass
class World:
    """Everything, by id."""

    messages: dict[str, Object] = field(default_factory=dict)
    chats: dict[str, Object] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    uuids: dict[str, Object] = field(default_factory=dict)
    reactions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """reaction id -> (message id, emoji)."""
    edits: dict[str, int] = field(default_factory=dict)
    """How often a text message was edited: 20 times at most."""

    def chat(self, chat_id: str, kind: str = "p2p") -> Object:
        """Make (or find) a chat: `p2p`, `group` or `topic_group`."""
        return self.chats.setdefault(chat_id, {"chat_id": chat_id, "chat_type": kind})

    def send(self, chat_id: str, body: Object, *, parent: Object | None = None) -> Object:
        """The bot sends. Raises Refused."""
        uuid = body.get("uuid")
        if uuid and len(uuid) > 50:
            raise Refused(99992402, "field validation failed: uuid")
        if uuid and uuid in self.uuids:
            return self.uuids[uuid]
        if chat_id not in self.chats:
            raise Refused(230002, "Bot/User can NOT be out of the chat.")
        check(body["msg_type"], body["content"])
        if body["msg_type"] == "interactive":
            self._check_card(body["content"])
        message: Object = {
            "message_id": new("om"),
            "chat_id": chat_id,
            "msg_type": body["msg_type"],
            "create_time": milliseconds(),
            "sender": {"sender_type": "app"},
            "body": {"content": body["content"]},
        }
        if parent is not None:
            message["parent_id"] = parent["message_id"]
            message["root_id"] = parent.get("root_id") or parent["message_id"]
            if parent.get("thread_id") or body.get("reply_in_thread"):
                message["thread_id"] = parent.get("thread_id") or new("omt")
        self.messages[message["message_id"]] = message
        if uuid:
            self.uuids[uuid] = message
        return message

    def _check_card(self, content: str) -> None:
        data = json.loads(content)
        if data.get("type") == "card" and data["data"]["card_id"] not in self.cards:
            raise Refused(230099, "Failed to create card content, ext=ErrCode: 11310; card entity not found")
        if data.get("type") == "card":
            card = self.cards[data["data"]["card_id"]]
            if card.sent:
                raise Refused(230099, "Failed to create card content; a card entity is sent once only")
            card.sent = True

    def replace(self, message_id: str, content: str, msg_type: str = "interactive") -> None:
        """PATCH of a card, PUT of a text. Raises Refused."""
        message = self.messages.get(message_id)
        if message is None:
            raise Refused(230011, "The message was recalled.")
        if message["msg_type"] != msg_type:
            raise Refused(230001, "This message is NOT a card." if msg_type == "interactive" else "not editable")
        check(msg_type, content)
        if msg_type == "interactive" and self._entity(message):
            raise Refused(230001, "a card entity is changed by cardkit")
        if msg_type != "interactive":
            self.edits[message_id] = self.edits.get(message_id, 0) + 1
            if self.edits[message_id] > 20:
                raise Refused(230072, "The message has reached the number of times it can be edited.")
        message["body"] = {"content": content}

    @staticmethod
    def _entity(message: Object) -> str:
        content = json.loads(message["body"]["content"])
        return str(content["data"]["card_id"]) if content.get("type") == "card" else ""

    def entity_of(self, message_id: str) -> str:
        """The card entity that a message shows. Raises Refused."""
        found = self._entity(self.messages[message_id]) if message_id in self.messages else ""
        if not found:
            raise Refused(300302, "no card entity")
        return found

    def make_card(self, data: str) -> Card:
        """A card entity. Raises Refused."""
        if len(data.encode()) > 30_000:
            raise Refused(300301, "card content exceeds the limit")
        self.check_entity(json.loads(data))
        card = Card(new("card"), json.loads(data))
        if card.body.get("schema") != "2.0":
            raise Refused(200621, "only schema 2.0")
        self.cards[card.card_id] = card
        return card

    @staticmethod
    def check_entity(body: Object) -> None:
        """Element ids are unique, begin with a letter and have 20 characters; a card has few tables. Raises Refused."""
        ids = [element["element_id"] for element in walk(body) if "element_id" in element]
        if len(set(ids)) < len(ids) or not all(re.fullmatch("[a-zA-Z][a-zA-Z0-9_]{0,19}", each) for each in ids):
            raise Refused(300305, "element_id is invalid")
        if too_many_tables(body):
            raise Refused(300305, "ErrMsg: element exceeds the limit; card table number over limit")

    def find_card(self, card_id: str) -> Card:
        """Raises Refused."""
        card = self.cards.get(card_id)
        if card is None:
            raise Refused(300302, "card not found")
        return card

    def stream(self, card_id: str, element_id: str, body: Object) -> None:
        """The whole text of one element, so far. Raises Refused."""
        card = self.find_card(card_id)
        if body.get("uuid") and body["uuid"] in card.uuids:
            return
        if not card.streaming:
            raise Refused(300309, "streaming mode is closed")
        element = next((e for e in card.body["body"]["elements"] if e.get("element_id") == element_id), None)
        if element is None:
            raise Refused(300313, "element not found")
        if len(body["content"]) > 100_000 or not body["content"]:
            raise Refused(300301, "content must have 1 to 100000 characters")
        if too_many_tables({"tag": "markdown", "content": body["content"]}):
            raise Refused(300305, "ErrMsg: element exceeds the limit; card table number over limit")
        card.advance(body["sequence"])
        card.uuids.add(body.get("uuid", ""))
        element["content"] = body["content"]

    def visible(self, chat_id: str) -> list[str]:
        """What a person in this chat sees of the bot now: its messages' texts, oldest first."""
        return [self.text(m) for m in self.messages.values() if m["chat_id"] == chat_id and is_bot(m)]

    def shown(self, chat_id: str) -> list[Object]:
        """The bot's messages themselves."""
        return [m for m in self.messages.values() if m["chat_id"] == chat_id and is_bot(m)]

    def text(self, message: Object) -> str:
        """What a message reads like."""
        content = json.loads(message["body"]["content"])
        if message["msg_type"] == "text":
            return str(content["text"])
        if message["msg_type"] == "interactive":
            return card_text(self.card_of(message))
        return json.dumps(content)

    def card_of(self, message: Object) -> Object:
        """The card JSON that a card message shows."""
        content: Object = json.loads(message["body"]["content"])
        return self.cards[content["data"]["card_id"]].body if content.get("type") == "card" else content

    def buttons(self, message: Object) -> list[Object]:
        """The `value` of every button that the message shows."""
        return [b["behaviors"][0]["value"] for b in walk(self.card_of(message)) if b.get("tag") == "button"]


def is_bot(message: Object) -> bool:
    """Whether the assistant sent it."""
    return bool(message["sender"]["sender_type"] == "app")


def walk(node: Any) -> list[Object]:
    """Every element below `node`, in order."""
    found: list[Object] = []
    if isinstance(node, dict):
        if "tag" in node:
            found.append(node)
        for value in node.values():
            found += walk(value)
    elif isinstance(node, list):
        for item in node:
            found += walk(item)
    return found


def card_text(card: Object) -> str:
    """The texts of a card's elements, without those of its buttons."""
    texts = []
    for element in walk(card.get("body", card)):
        if element["tag"] == "markdown":
            texts.append(element["content"])
        elif element["tag"] == "div":
            texts.append(element["text"]["content"])
    return "\n".join(text for text in texts if text.strip("\u200b"))


def too_many_tables(card: Object) -> bool:
    """Whether a card holds more tables than Feishu shows: more than three, by what people met."""
    rule = re.compile(r"^[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
    tables = 0
    for element in walk(card):
        if element["tag"] != "markdown":
            continue
        fenced, before = False, ""
        for line in element["content"].split("\n"):
            fenced ^= line.lstrip(" >-*").startswith(("```", "~~~"))
            tables += bool(not fenced and "|" in before and "|" in line and rule.match(line))
            before = line
    return tables > 3


def check(msg_type: str, content: str) -> None:
    """Feishu's limits: 150 KB for a text, 30 KB for a card or post. Raises Refused."""
    if len(content.encode()) > (150_000 if msg_type == "text" else 30_000):
        raise Refused(230025, "The length of the message content reaches its limit.")
    if msg_type == "interactive" and too_many_tables(json.loads(content)):
        why = "ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; "
        raise Refused(230099, f"Failed to create card content, ext={why}")
    if msg_type == "text" and not json.loads(content).get("text"):
        raise Refused(230001, "invalid request: text is empty")
