"""An error's words in Chinese: those that a chat can show, by their sentence, all others by their code."""

import inspect
import re

import pytest

from bus import errors
from bus.errors import GatewayError
from bus.wording import explain, is_chinese, word

LATIN = re.compile(r"[a-z]{3,}")
CODES = sorted({cls.code for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, GatewayError)})


@pytest.mark.parametrize(
    ("message", "chinese"),
    [
        ("no such approval, or it is over", "没有这项授权请求，或已失效"),
        ("this needs the scope approve", "这需要权限 approve"),
        ("there is no tool named fs_read", "没有名为 fs_read 的工具"),
        ("/approve ID [once|session|always]", "用法：/approve ID [once|session|always]"),
        ("/language en|zh", "用法：/language en|zh"),
        ("可选：auto, fast", "可选：auto, fast"),
    ],
)
def test_known_words(message: str, chinese: str) -> None:
    assert explain(1003, message, "zh-CN") == chinese
    assert explain(1003, message, "en") == message


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_sentence(code: int) -> None:
    found = explain(code, "some words that nobody has translated", "zh")
    assert found != "出了错，请重试"
    assert not LATIN.search(found)


def test_a_code_of_nobody() -> None:
    assert explain(9999, "what is this", "zh") == "出了错，请重试"


def test_states_and_policies_in_one_word() -> None:
    assert (word("degraded", "zh"), word("ask", "zh-CN"), word("ask", "en"), word("xyz", "zh")) == (
        "受限", "需确认", "ask", "xyz",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("猫叫什么？", True),
        ("my 猫", True),
        ("猫の名前は", False),
        ("カレンダー 今日", False),
        ("cat", False),
        ("", False),
    ],
)
def test_japanese_is_not_chinese(text: str, chinese: bool) -> None:
    assert is_chinese(text) is chinese
