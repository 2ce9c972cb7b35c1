"""Telegram's updates, read: pure."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import Button, Incoming, Reaction, Tap, Text
from channels.telegram.parse import Me, Migrated, parse_album, parse_message, parse_update
from channels.telegram.render import MAX_CHARS, measure, render_buttons, render_markdown, render_text
from channels.text import count, take_piece
from tests.channels.pieces import split_markdown

ME = Me(1, "b_bot")


async def fetch(file_id: str, limit: int) -> bytes:
    return b""


async def tell(query: str, text: str) -> None:
    return None


def message(text: str = "hi", *, chat: int = 42, user: int = 42, **more: Any) -> dict[str, Any]:
    kind = "private" if chat > 0 else "supergroup"
    return {"message_id": 9, "date": 1_700_000_000, "chat": {"id": chat, "type": kind}, "text": text,
            "from": {"id": user, "is_bot": False, "first_name": "Ann", "last_name": "Lee"}, **more}  # fmt: skip


def parsed(data: dict[str, Any], **more: Any) -> Incoming:
    found = parse_message(data, ME, fetch, **more)
    assert isinstance(found, Incoming)
    return found


def entity(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


def test_a_private_message() -> None:
    found = parsed(message("hello"))
    assert (found.key, found.text, found.message_id, found.addressed) == ("42:9", "hello", "9", True)
    assert (found.place.kind, str(found.identity), found.identity.name) == ("direct", "telegram:1:42", "Ann Lee")


@pytest.mark.attack(58)
def test_identity_is_the_number_and_never_a_name() -> None:
    one = parsed(message(user=12) | {"from": {"id": 12, "is_bot": False, "first_name": "1", "username": "boss"}})
    other = parsed(message(user=1) | {"from": {"id": 1_2, "is_bot": False, "first_name": "x", "username": "boss"}})
    assert one.identity.peer == other.identity.peer == "12"
    assert parsed(message() | {"from": {"id": 2, "is_bot": False, "first_name": "12"}}).identity.peer == "2"


@pytest.mark.parametrize(
    ("text", "entities", "said", "addressed"),
    [
        ("hello", [], "hello", False),
        ("@b_bot hello", [entity("mention", 0, 6)], "hello", True),
        ("😀 @B_Bot hello", [entity("mention", 3, 6)], "😀  hello", True),
        ("@b_bottle hello", [entity("mention", 0, 9)], "@b_bottle hello", False),
        ("Bot, hi", [entity("text_mention", 0, 3, user={"id": 1})], ", hi", True),
        ("Bob, hi", [entity("text_mention", 0, 3, user={"id": 77})], "Bob, hi", False),
        ("/stop", [entity("bot_command", 0, 5)], "/stop", True),
        ("/stop@b_bot", [entity("bot_command", 0, 11)], "/stop@b_bot", True),
        ("see /stop", [entity("bot_command", 4, 5)], "see /stop", False),
    ],
)
def test_who_is_spoken_to_in_a_group(text: str, entities: list[Any], said: str, addressed: bool) -> None:
    found = parsed(message(text, chat=-5, entities=entities))
    assert (found.text, found.addressed) == (said, addressed)


def test_a_command_for_another_bot_is_not_ours() -> None:
    assert parse_message(message("/stop@other", chat=-5, entities=[entity("bot_command", 0, 11)]), ME, fetch) is None


def test_a_reply_to_us_speaks_to_us_and_another_one_is_quoted() -> None:
    to_us = parsed(message("yes", chat=-5, reply_to_message={"message_id": 1, "from": {"id": 1}, "text": "ok?"}))
    assert (to_us.addressed, to_us.quoted) == (True, "")
    other = parsed(message("see", chat=-5, reply_to_message={"message_id": 1, "from": {"id": 7}, "text": "word"}))
    assert (other.addressed, other.quoted) == (False, "word")


@pytest.mark.attack(59)
def test_forwarded_text_is_a_quotation_and_no_command() -> None:
    found = parsed(message("/stop", chat=-5, entities=[entity("bot_command", 0, 5)], forward_origin={"type": "user"}))
    assert (found.text, found.quoted, found.addressed) == ("", "/stop", False)


@pytest.mark.attack(60)
@pytest.mark.parametrize(
    "sender",
    [
        {"from": {"id": 1, "is_bot": True, "first_name": "me"}},
        {"from": {"id": 9, "is_bot": True, "first_name": "other bot"}},
        {"from": {"id": 1087968824, "is_bot": True, "first_name": "Group"}, "sender_chat": {"id": -5}},
        {"from": {"id": 777000, "is_bot": False, "first_name": "Telegram"}},
    ],
)
def test_bots_and_anonymous_senders_are_marked(sender: dict[str, Any]) -> None:
    assert parsed(message(chat=-5) | sender).identity.bot


def test_topics_are_threads_only_where_telegram_says_so() -> None:
    assert parsed(message(chat=-5, message_thread_id=77, is_topic_message=True)).thread == "77"
    assert parsed(message(chat=-5, message_thread_id=77)).thread is None


def test_an_edit_has_a_key_of_its_own_and_names_its_original() -> None:
    found = parsed(message("new", edit_date=5), edited=True)
    assert (found.key, found.edits) == ("42:9:e5", "42:9")


def test_an_album_is_one_message() -> None:
    parts = [
        message("", message_id=9 + n, media_group_id="g", photo=[{"file_id": f"f{n}", "width": 1, "height": 1}])
        for n in (1, 0, 2)
    ]
    parts[0]["caption"] = "three"
    found = parse_album(parts, ME, fetch)
    assert isinstance(found, Incoming)
    assert (found.key, found.also, len(found.media), found.text) == ("42:9", ("42:10", "42:11"), 3, "three")


def test_files_of_each_kind() -> None:
    photo = parsed(message("", photo=[{"file_id": "s", "width": 9, "height": 9},
                                      {"file_id": "l", "width": 99, "height": 99, "file_size": 5}]))  # fmt: skip
    assert (photo.media[0].kind, photo.media[0].size) == ("image", 5)
    voice = parsed(message("", voice={"file_id": "v", "mime_type": "audio/ogg"}))
    assert (voice.media[0].kind, voice.media[0].mime, voice.media[0].size) == ("voice", "audio/ogg", None)
    document = parsed(message("", document={"file_id": "d", "file_name": "a.pdf", "mime_type": "application/pdf"}))
    assert (document.media[0].kind, document.media[0].name) == ("file", "a.pdf")
    picture = parsed(message("", document={"file_id": "d", "file_name": "a.png", "mime_type": "image/png"}))
    assert picture.media[0].kind == "image"


def test_other_updates() -> None:
    query = {"id": "5", "from": {"id": 42, "first_name": "A"}, "data": "x", "message": message()}
    assert isinstance(parse_update({"update_id": 1, "callback_query": query}, ME, fetch, tell), Tap)
    change = {"chat": {"id": 42, "type": "private"}, "message_id": 1, "user": {"id": 42, "first_name": "A"}}
    assert isinstance(parse_update({"update_id": 1, "message_reaction": change}, ME, fetch, tell), Reaction)
    joined = message("", chat=-5, new_chat_members=[{"id": 8}])
    assert isinstance(parse_update({"update_id": 1, "message": joined}, ME, fetch, tell), Reaction)
    moved = message("", chat=-5, migrate_to_chat_id=-1005)
    assert parse_update({"update_id": 1, "message": moved}, ME, fetch, tell) == Migrated("-5", "-1005")
    assert parse_update({"update_id": 1, "poll": {}}, ME, fetch, tell) is None
    assert parse_update({"update_id": 1, "channel_post": message()}, ME, fetch, tell) is None


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["message", "chat", "from", "id", "text", "entities", "type", "photo", "offset", "date"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.attack(23)
@given(st.dictionaries(st.sampled_from(["message", "edited_message", "callback_query", "update_id"]), JSONISH))
@settings(max_examples=200, deadline=None)
def test_rubbish_raises_only_what_is_said(update: dict[str, Any]) -> None:
    try:
        parse_update(update, ME, fetch, tell)
    except (KeyError, TypeError, ValueError, AttributeError):
        return


# ---------------------------------------------------------------- out


def test_markdown_becomes_entities() -> None:
    shown = render_markdown("**bold** 😀 `code`")
    assert shown.text == "bold 😀 code"
    assert [(e["type"], e["offset"], e["length"]) for e in shown.entities] == [("bold", 0, 4), ("code", 8, 4)]


@pytest.mark.parametrize(
    "markdown",
    ["a <b>x</b> y", "<div>\nhello\n</div>\n\nafter", "List<String> x", "<script>alert(1)</script>", "1 < 2", "<b>"],
)
def test_raw_html_is_shown_as_it_was_written(markdown: str) -> None:
    assert "".join(render_markdown(markdown).text.split()) == "".join(markdown.split())


def test_html_in_code_stays_code() -> None:
    assert render_markdown("```html\n<div>\n```").text == "<div>"
    assert render_markdown("`<b>`").text == "<b>"


def test_headings_have_no_signs_of_the_converter_s() -> None:
    assert render_markdown("# Title").text == "Title"


def test_activity_is_italic_below_and_left_out_without_room() -> None:
    shown = render_text(Text(markdown="answer", activity="⚙️ clock"))
    assert shown.text == "answer\n\n⚙️ clock"
    assert shown.entities[-1]["type"] == "italic"
    assert render_text(Text(markdown="x" * MAX_CHARS, plain=True, activity="⚙️ clock")).text == "x" * MAX_CHARS


def test_buttons_become_a_keyboard() -> None:
    rows = ((Button("Allow once", "ap:tok:o", "primary"),), (Button("Deny", "ap:tok:d"),))
    assert render_buttons(Text(markdown="x", buttons=rows)) == {
        "inline_keyboard": [
            [{"text": "Allow once", "callback_data": "ap:tok:o"}],
            [{"text": "Deny", "callback_data": "ap:tok:d"}],
        ]
    }
    assert render_buttons(Text(markdown="x")) is None


MARKDOWN = st.lists(
    st.sampled_from(["**b** ", "# h\n", "`c` ", "text 😀 ", "\n\n", "```py\nx\n```\n",
     "| a | b |\n|---|---|\n| 1 | 😀 |\n",
                     "- item\n", "> q\n", "<b>", "[l](http://x.y) ", "~~s~~ ", "\ud83d", "***", "||s|| "]),
    max_size=80,
).map("".join)  # fmt: skip


@given(MARKDOWN)
@settings(max_examples=150, deadline=None)
def test_rendered_pieces_keep_telegram_s_rules(markdown: str) -> None:
    markdown = markdown.encode("utf-8", "replace").decode()
    for piece in split_markdown(markdown, 120, measure):
        shown = render_markdown(piece)
        length = count(shown.text, "utf16")
        assert 0 < length <= 120
        for each in shown.entities:
            assert 0 <= each["offset"] < each["offset"] + each["length"] <= length


@pytest.mark.quiet
def test_a_piece_is_rendered_in_a_few_milliseconds() -> None:
    import time

    text = "word **bold** `code` 😀 中文。\n\n" * 3000
    began = time.perf_counter()
    piece, rest = take_piece(text, MAX_CHARS, measure)
    assert piece and rest
    assert time.perf_counter() - began < 0.5
