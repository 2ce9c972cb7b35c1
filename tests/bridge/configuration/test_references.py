"""References: where they lead, where they may not, and that nothing but their name is shown."""

from pathlib import Path

import pytest

from bridge.configuration import ConfigurationError, References, RefusedForSafety, expand, load_text


def expanded(text: str, folder: Path, **environ: str):
    document = load_text(text, "f.yaml")
    kept = expand(document, References(environ, folder))
    return document.data, kept


def test_every_form(tmp_path: Path):
    (tmp_path / "file.txt").write_text("from file\n")
    (tmp_path / "secrets.yaml").write_text("NAME: hidden\nNUMBER: 42\n")
    (tmp_path / "secrets.yaml").chmod(0o600)
    text = (
        "a: ${VAR}\nb: ${env:VAR}\nc: ${NONE:-fallback}\nd: ${file:file.txt}\ne: ${secret:NAME}-${secret:NUMBER}\n"
        "f: x${VAR}y${VAR}\ng: $${VAR}\nh: ${EMPTY:-}\ni: ${env:NONE:-z}\nj: a $ and a { stay\n"
    )
    data, kept = expanded(text, tmp_path, VAR="v", EMPTY="")
    assert data == {
        "a": "v", "b": "v", "c": "fallback", "d": "from file", "e": "hidden-42", "f": "xvyv", "g": "${VAR}", "h": "",
        "i": "z", "j": "a $ and a { stay",
    }  # fmt: skip
    assert not kept


@pytest.mark.attack(81)
@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("${NONE}", "the environment variable NONE is not set"),
        ("${EMPTY}", "the environment variable EMPTY is empty"),
        ("${file:none.txt}", "the file none.txt: no such file"),
        ("${file:~nobody-of-that-name/x}", "the file ~nobody-of-that-name/x: cannot be read"),
        ("${secret:NONE}", "secrets.yaml: no such file"),
        ("${bad name}", "not a reference that is known"),
        ("${vault:x}", "not a reference that is known"),
    ],
)
def test_a_missing_one_is_said_with_its_place(tmp_path: Path, reference: str, reason: str):
    with pytest.raises(ConfigurationError) as caught:
        expanded(f"a:\n  b: ['{reference}']\n", tmp_path, EMPTY="")
    assert str(caught.value).startswith("f.yaml:2:7 a.b[0]: ")
    assert reason in str(caught.value)


@pytest.mark.attack(81)
def test_secrets_that_others_can_read_are_refused_for_safety(tmp_path: Path):
    (tmp_path / "secrets.yaml").write_text("NAME: sk-canary\n")
    (tmp_path / "secrets.yaml").chmod(0o644)
    with pytest.raises(RefusedForSafety) as caught:
        expanded("a: ${secret:NAME}\n", tmp_path)
    assert caught.value.exit_code == 3
    assert "chmod 600" in str(caught.value)
    assert "sk-canary" not in str(caught.value)


def test_a_section_that_is_off_keeps_its_references(tmp_path: Path):
    data, kept = expanded("a: {enabled: false, t: '${NONE}', u: '${VAR}', deep: {v: '${NONE}'}}\n", tmp_path, VAR="v")
    assert data["a"] == {"enabled": False, "t": "${NONE}", "u": "v", "deep": {"v": "${NONE}"}}
    assert kept == {("a", "t"): ("a",), ("a", "deep", "v"): ("a",)}


def test_what_a_reference_brings_is_not_expanded_again(tmp_path: Path):
    data, _ = expanded("a: ${VAR}\n", tmp_path, VAR="${OTHER}")
    assert data == {"a": "${OTHER}"}
