"""A tool server's question as a form for a chat: pure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import forms
from channels.forms import Unreadable, form_of, question, read


def one(**field: Any) -> forms.Form:
    found = form_of({"type": "object", "properties": {"it": field}}, "en")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ({"type": "string"}, "  main ", "main"),
        ({"type": "string"}, "/home/x", "/home/x"),
        ({"type": "integer"}, "-3", -3),
        ({"type": "number"}, "2,5", 2.5),
        ({"type": "boolean"}, "YES", True),
        ({"type": "boolean"}, "否", False),
        ({"type": "boolean"}, "1", True),
        ({"type": "boolean"}, "2", False),
        ({"type": "string", "enum": ["a", "b"]}, "B", "b"),
        ({"type": "string", "enum": ["a", "b"]}, "2", "b"),
        ({"type": "string", "oneOf": [{"const": "x", "title": "Exit"}]}, "exit", "x"),
    ],
)
def test_what_is_typed(field: dict[str, Any], text: str, value: object) -> None:
    found = read(one(**field), text, "en")
    assert found is not None and found[0] == value and type(found[0]) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"type": "integer"}, "2.5"),
        ({"type": "integer", "minimum": 3}, "2"),
        ({"type": "number", "maximum": 3}, "inf"),
        ({"type": "number"}, "nan"),
        ({"type": "integer"}, "9" * 400),
        ({"type": "integer", "minimum": 10**400}, "2"),
        ({"type": "number", "maximum": -(10**400)}, "2"),
        ({"type": "string", "maxLength": 2}, "abc"),
        ({"type": "string", "minLength": 2}, "a"),
    ],
)
def test_what_is_no_answer_is_said(field: dict[str, Any], text: str) -> None:
    with pytest.raises(Unreadable):
        read(one(**field), text, "en")


def test_something_else_than_a_choice_is_a_message_of_its_own() -> None:
    assert read(one(type="string", enum=["a", "b"]), "what is the weather?", "en") is None


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_buttons_fit_under_a_message(count: int) -> None:
    rows = forms.buttons("t", one(type="string", enum=[f"{n}" * 90 for n in range(count)]), "en")
    assert len(rows) <= 5
    assert all(len(row) <= 5 for row in rows)
    assert sum(len(row) for row in rows) == count + 1
    for button in (button for row in rows for button in row):
        assert len(button.label) <= 80
        assert forms.read_button(button.data) is not None


@pytest.mark.parametrize("data", ["", "qu:t", "qu:t:x", "ap:t:o", "qu:t:-1", "qu:t:1:2", "qu:t:²"])
def test_a_forged_button_is_none(data: str) -> None:
    found = forms.read_button(data)
    assert found is None or found[1] == "d" or int(found[1]) >= 0


def test_a_question_is_in_the_persons_language() -> None:
    form = form_of({"type": "object", "properties": {"it": {"type": "boolean"}}}, "zh")
    assert form is not None
    assert [choice.label for choice in form.choices] == ["是", "否"]
    assert question("Which?", one(type="number"), "zh", by_buttons=True) == "❓ Which?\n\n请回复一个数字。"
    assert "1. Yes\n2. No" in question("Which?", one(type="boolean"), "en", by_buttons=False)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "enum", "oneOf", "const", "title", "minimum", "enumNames", "it"]),
        inner | st.sampled_from(["object", "string", "number", "boolean", "integer"]), max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["type", "properties"]), json | st.just("object")), st.text(max_size=20))
def test_a_servers_rubbish_is_no_form_or_one_that_can_be_asked(schema: dict[str, Any], text: str) -> None:
    found = form_of(schema, "en")
    if found is None:
        return
    assert question("Which?", found, "en", by_buttons=True)
    assert forms.buttons("token", found, "en")
    try:
        read(found, text, "en")
    except Unreadable as hint:
        assert str(hint)
