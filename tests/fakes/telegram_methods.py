"""The Bot API's methods on messages and files, with its limits and refusals. `telegram_server.py` serves them."""

import re
import unicodedata

from tests.fakes.telegram_world import Chat, Json, Refused, World, utf16

MAX_TEXT = 4096
MAX_CAPTION = 1024
ACTIONS = {"typing", "upload_photo", "upload_document", "upload_voice", "upload_video", "record_voice"}
EMOJI = set(
    "👍👎❤🔥🥰👏😁🤔🤯😱🤬😢🎉🤩🤮💩🙏👌🕊🤡🥱🥴😍🐳🌚🌭💯🤣⚡🍌🏆💔🤨😐🍓🍾💋🖕😈😴😭🤓👻👀🎃🙈😇😨🤝✍🤗🫡🎅🎄☃💅🤪🗿🆒💘🙉🦄😘💊🙊😎👾🤷😡"
)
"""Some of the emoji that a bot may react with; ✅ and ⏳ are not among them."""


class BotMethods:
    """Each method by its name with an underscore before it; takes the parameters, returns the result."""

    world: World

    # ------------------------------------------------------------ methods: messages

    def _room(self, p: Json) -> Chat:
        number = int(p["chat_id"])
        if number not in self.world.chats:
            raise Refused(400, "Bad Request: chat not found")
        room = self.world.chats[number]
        if room.moved_to is not None:
            raise Refused(400, "Bad Request: group chat was upgraded to a supergroup chat",
                          migrate_to_chat_id=room.moved_to)  # fmt: skip
        if room.blocked:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        return room

    def _checked_text(self, p: Json) -> tuple[str, list[Json]]:
        text, entities = str(p.get("text", "")), p.get("entities") or []
        if all(unicodedata.category(c) in ("Cc", "Cf", "Zs", "Zl", "Zp") for c in text):
            raise Refused(400, "Bad Request: message text is empty")
        if utf16(text) > MAX_TEXT:
            raise Refused(400, "Bad Request: message is too long")
        for entity in entities:
            if entity["offset"] < 0 or entity["offset"] + entity["length"] > utf16(text) or entity["length"] <= 0:
                raise Refused(400, "Bad Request: can't parse entities: wrong offset")
        return text, entities

    def _keyboard(self, p: Json) -> list[list[Json]]:
        rows = (p.get("reply_markup") or {}).get("inline_keyboard", [])
        for row in rows:
            for button in row:
                if not button["text"].strip():
                    raise Refused(400, "Bad Request: can't parse inline keyboard button: Text must be non-empty")
                if not 1 <= len(button["callback_data"].encode()) <= 64:
                    raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
        return list(rows)

    def _where(self, room: Chat, p: Json) -> Json:
        reply = p.get("reply_parameters") or {}
        target = reply.get("message_id")
        if target is not None and target not in room.messages:
            if not reply.get("allow_sending_without_reply"):
                raise Refused(400, "Bad Request: message to be replied not found")
            target = None
        thread = p.get("message_thread_id")
        if thread is not None and not room.forum and room.type != "private":
            raise Refused(400, "Bad Request: message thread not found")
        return {"reply_to": target, "thread": int(thread) if thread is not None else None}

    def _sendMessage(self, p: Json) -> Json:
        room = self._room(p)
        text, entities = self._checked_text(p)
        return self.world.new_message(room, text, entities=entities, buttons=self._keyboard(p), **self._where(room, p))

    def _editMessageText(self, p: Json) -> Json:
        room = self._room(p)
        shown = room.messages.get(int(p["message_id"]))
        if shown is None:
            raise Refused(400, "Bad Request: message to edit not found")
        if not shown.from_bot:
            raise Refused(400, "Bad Request: message can't be edited")
        text, entities = self._checked_text(p)
        buttons = self._keyboard(p)
        if (shown.text, shown.entities, shown.buttons) == (text, entities, buttons):
            raise Refused(400, "Bad Request: message is not modified: specified new message content and reply markup "
                               "are exactly the same as a current content and reply markup of the message")  # fmt: skip
        shown.text, shown.entities, shown.buttons, shown.edits = text, entities, buttons, shown.edits + 1
        return self.world._as_json(room, shown)

    def _deleteMessage(self, p: Json) -> bool:
        room = self._room(p)
        if room.messages.pop(int(p["message_id"]), None) is None:
            raise Refused(400, "Bad Request: message to delete not found")
        return True

    def _sendMessageDraft(self, p: Json) -> bool:
        if not self.world.drafts:
            raise Refused(404, "Not Found: method not found")
        room = self._room(p)
        if room.type != "private":
            raise Refused(400, "Bad Request: drafts are for private chats")
        if int(p["draft_id"]) == 0:
            raise Refused(400, "Bad Request: draft_id must be non-zero")
        if not str(p.get("text", "")).strip():
            raise Refused(400, "Bad Request: text must be non-empty")
        self._checked_text(p)
        self._where(room, p)
        room.drafts[int(p["draft_id"])] = str(p.get("text", ""))
        return True

    def _sendChatAction(self, p: Json) -> bool:
        if p["action"] not in ACTIONS:
            raise Refused(400, "Bad Request: wrong parameter action in request")
        room = self._room(p)
        self._where(room, p)
        room.actions.append(str(p["action"]))
        return True

    def _setMessageReaction(self, p: Json) -> bool:
        shown = self._room(p).messages.get(int(p["message_id"]))
        if shown is None:
            raise Refused(400, "Bad Request: message to react not found")
        if any(each["emoji"] not in EMOJI for each in p.get("reaction") or []):
            raise Refused(400, "Bad Request: REACTION_INVALID")
        shown.reactions = [each["emoji"] for each in p.get("reaction") or []]
        return True

    def _answerCallbackQuery(self, p: Json) -> bool:
        if str(p["callback_query_id"]) not in self.world.open_taps:
            raise Refused(400, "Bad Request: query is too old and response timeout expired or query ID is invalid")
        if utf16(str(p.get("text", ""))) > 200:
            raise Refused(400, "Bad Request: MESSAGE_TOO_LONG")
        self.world.answered_taps.append((str(p["callback_query_id"]), str(p.get("text", ""))))
        return True

    def _setMyCommands(self, p: Json) -> bool:
        for command in p["commands"]:
            if not re.fullmatch("[a-z0-9_]{1,32}", command["command"]):
                raise Refused(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(command["description"]) <= 256:
                raise Refused(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        if len(p["commands"]) > 100:
            raise Refused(400, "Bad Request: too many bot commands specified")
        self.world.commands[str(p.get("language_code", ""))] = p["commands"]
        return True

    # ------------------------------------------------------------ methods: files

    def _getFile(self, p: Json) -> Json:
        data = self.world.files.get(str(p["file_id"]))
        if data is None:
            raise Refused(400, "Bad Request: invalid file_id")
        if len(data) > 20_971_520:
            raise Refused(400, "Bad Request: file is too big")
        return {"file_id": p["file_id"], "file_unique_id": "u", "file_size": len(data),
                "file_path": f"files/{p['file_id']}"}  # fmt: skip

    def _upload(self, kind: str, p: Json) -> Json:
        room = self._room(p)
        data = next((v for v in p.values() if isinstance(v, bytes)), b"")
        if not data:
            raise Refused(400, "Bad Request: file must be non-empty")
        if len(data) > 52_428_800:
            raise Refused(413, "Request Entity Too Large")
        if utf16(str(p.get("caption", ""))) > MAX_CAPTION:
            raise Refused(400, "Bad Request: message caption is too long")
        if kind == "photo" and not data.startswith((b"\x89PNG", b"\xff\xd8")):
            raise Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
        return self.world.new_message(
            room, str(p.get("caption", "")), media=kind, size=len(data), **self._where(room, p)
        )

    def _sendPhoto(self, p: Json) -> Json:
        return self._upload("photo", p)

    def _sendDocument(self, p: Json) -> Json:
        return self._upload("document", p)

    def _sendVoice(self, p: Json) -> Json:
        return self._upload("voice", p)

    def _sendAudio(self, p: Json) -> Json:
        return self._upload("audio", p)

    def _sendVideo(self, p: Json) -> Json:
        return self._upload("video", p)
