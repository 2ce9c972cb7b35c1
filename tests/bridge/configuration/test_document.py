"""YAML with positions: what is understood, what is refused, and where the finger points."""

import pytest

from bridge.configuration import ConfigurationError, Place, load_file, load_text, overlay


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "f.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_values_have_their_types_and_places():
    document = load_text(
        "# a comment\na: 1\nb:\n  - text\n  - true\n  - 2.5\n  - null\n  - 2024-01-01\n  - yes\n  - 0x1f\n", "f.yaml"
    )
    assert document.data == {"a": 1, "b": ["text", True, 2.5, None, "2024-01-01", "yes", 31]}
    assert document.place(("b", 2)) == Place("f.yaml", 6, 5)
    assert document.place(("b",), key=True) == Place("f.yaml", 3, 1)
    assert document.place(("b", 9, "unknown")) == document.place(("b",))


def test_an_empty_document_and_a_commented_one_say_nothing():
    assert load_text("", "f").data == {}
    assert load_text("# only\n# comments\n", "f").data == {}


def test_anchors_and_merge_keys_within_reason():
    document = load_text("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n", "f")
    assert document.data["mine"] == {"x": 1, "y": 3}


@pytest.mark.attack(81)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "f.yaml:4:3 b.c: duplicate key"),
        ("a: !!python/object/apply:os.system ['true']\n", "f.yaml:1:4 a: tags"),
        ("a: !mine x\n", "f.yaml:1:4 a: tags"),
        ("- 1\n", "f.yaml:1:1: the file must be a mapping"),
        ("text\n", "f.yaml:1:1: the file must be a mapping"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: only one YAML document"),
        ("? [a]\n: 1\n", "a key must be a text"),
        ("a: .nan\n", "f.yaml:1:4 a: not a number"),
        ("a: " + "9" * 5000 + "\n", "f.yaml:1:4 a: not a number"),
        ("a: \x07\n", "not allowed in YAML"),
        ("\ta: 1\n", "a tab"),
        ("a: " + "[" * 100_000, "not YAML that can be read"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("a: " + "x" * 1_100_000, "larger than"),
    ],
)
def test_what_no_configuration_needs_is_refused_with_its_place(text: str, expected: str):
    assert expected in refusal(text)


@pytest.mark.attack(81)
def test_a_bomb_of_aliases_is_refused_before_it_grows():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "too many values" in refusal("\n".join(lines))


@pytest.mark.attack(84)
@pytest.mark.parametrize(
    "text",
    ["token: *sk-canary\n", "token: &sk-canary\n&sk-canary\n", "token: !sk-canary x\n", "token: 'sk-canary\n",
     "token: sk-canary: x\n", "token: [sk-canary\n", "token: \"sk-canary\\q\"\n", "token: %sk-canary\n",
     "token: `sk-canary\n", "token: @sk-canary\n"],
)  # fmt: skip
def test_a_syntax_error_never_shows_what_was_written(text: str):
    assert "sk-canary" not in refusal(text)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        load_file(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin\.yaml:2:7: this is not UTF-8"):
        load_file(str(tmp_path / "latin.yaml"))
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_file(str(tmp_path / "bom.yaml")).data == {"a": 1}


def test_a_value_laid_over_takes_its_place_along():
    document = load_text("a:\n  b: 1\n  list: [{x: 1}]\n", "f")
    overlay(document, ("a", "b"), 2, Place("VARIABLE"))
    overlay(document, ("a", "list", "0", "x"), 5, Place("OTHER"))
    overlay(document, ("new", "deep"), [1], Place("THIRD"))
    assert document.data == {"a": {"b": 2, "list": [{"x": 5}]}, "new": {"deep": [1]}}
    assert str(document.place(("a", "b"))) == "VARIABLE"
    assert str(document.place(("new", "deep", 0))) == "THIRD"
    with pytest.raises(ConfigurationError, match="a number from 0 to 1"):
        overlay(document, ("a", "list", "7", "x"), 5, Place("OTHER"))
