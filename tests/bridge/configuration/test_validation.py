"""Mistakes in one line each, with a place and a suggestion, never with the value."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bridge.configuration import ConfigurationError, Place, load_text, overlay, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    port: int = Field(default=1, ge=0, le=65535)
    ratio: float = 1.0
    word: str = ""
    secret: SecretStr | None = None
    kind: Literal["alpha", "beta"] = "alpha"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    server: Inner = Inner()
    items: list[Inner] = []
    table: dict[str, Annotated[Inner, "x"]] = {}
    maybe: Inner | None = None


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        validate(load_text(text, "config.yaml"), Outer)
    return str(caught.value).splitlines()


def test_the_line_of_the_contract():
    text = "# the first line\nserver:\n  prot: 9\n"
    assert mistakes(text) == ["config.yaml:3:3 server.prot: unknown key (did you mean 'port'?)"]


@pytest.mark.attack(81)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("server: {port: 70000}", "config.yaml:1:16 server.port: must be ≤ 65535"),
        ("server: {port: abc}", "config.yaml:1:16 server.port: must be a whole number"),
        ("server: {port: true}", "config.yaml:1:16 server.port: must be a number"),
        ("server: {ratio: true}", "config.yaml:1:17 server.ratio: must be a number"),
        ("server: {word: 12}", "config.yaml:1:16 server.word: must be a text: quote it"),
        ("server: {secret: 12}", "config.yaml:1:18 server.secret: must be a text: quote it"),
        ("server: {kind: alfa}", "server.kind: must be one of 'alpha' or 'beta' (did you mean 'alpha'?)"),
        ("server: 5", "config.yaml:1:9 server: must be a mapping (key: value)"),
        ("items: {port: 1}", "config.yaml:1:8 items: must be a list"),
        ("items:\n- port: 1\n- prt: 2", "config.yaml:3:3 items[1].prt: unknown key (did you mean 'port'?)"),
        ("table: {x: {wrd: 1}}", "config.yaml:1:13 table.x.wrd: unknown key (did you mean 'word'?)"),
        ("maybe: {wrd: 1}", "config.yaml:1:9 maybe.wrd: unknown key (did you mean 'word'?)"),
        ("servre: {}", "config.yaml:1:1 servre: unknown key (did you mean 'server'?)"),
    ],
)
def test_each_kind_of_mistake(text: str, line: str):
    [found] = mistakes(text)
    assert line in found


def test_all_mistakes_at_once_in_the_order_of_the_file():
    found = mistakes("servre: 1\nserver:\n  port: -1\n  word: 5\nitems: 4\n")
    assert [line.split(":")[1] for line in found] == ["1", "3", "4", "5"]


@pytest.mark.attack(84)
@pytest.mark.parametrize("key", ["port", "ratio", "kind", "unknown", "maybe"])
def test_a_value_is_never_shown(key: str):
    assert "sk-canary" not in "".join(mistakes(f"server: {{{key}: sk-canary}}"))


def test_a_section_whose_keys_are_all_commented_out_is_not_there():
    result = validate(load_text("server:\nitems:\ntable:\n", "f"), Outer)
    assert result == Outer()


def test_a_section_that_is_off_is_left_out_where_its_references_do_not_fit():
    document = load_text("table:\n  x: {port: '${NONE}'}\n  y: {port: 5}\n", "f")
    result = validate(document, Outer, kept={("table", "x", "port"): ("table", "x")})
    assert result.table == {"y": Inner(port=5)}
    document = load_text("table:\n  x: {port: '${NONE}', wrong: 1}\n", "f")
    with pytest.raises(ConfigurationError, match="wrong: unknown key"):
        validate(document, Outer, kept={("table", "x", "port"): ("table", "x")})


def test_what_came_from_the_environment_names_its_variable():
    document = load_text("", "f")
    overlay(document, ("items",), "1,2", Place("GATEWAY__ITEMS"))
    with pytest.raises(ConfigurationError) as caught:
        validate(document, Outer)
    assert str(caught.value) == "GATEWAY__ITEMS items: must be a list (in the environment: as JSON)"
