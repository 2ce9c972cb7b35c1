"""The policy of a call: patterns, arguments, paths, dangerous words."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.policy import DANGEROUS, dangerous_word, decide, idempotent, is_beneath, standing, strictest, words
from bridge.settings import PolicyName, ToolSettings

NAMES = st.sampled_from(["read_file", "write_file", "list", "deleteAll", "run_shell"])
PATTERNS = st.lists(st.sampled_from(["*", "read_*", "write_*", "list", "x"]), max_size=3)
POLICIES = st.sampled_from(["allow", "ask", "deny"])
ORDER = {"allow": 0, "ask": 1, "deny": 2}


def rules(**lists: Any) -> ToolSettings:
    return ToolSettings.model_validate(lists)


def policy(
    settings: ToolSettings, name: str, arguments: dict[str, Any] | None = None, default: PolicyName = "ask"
) -> str:
    return decide(settings, default, f"fs_{name}", name, arguments or {}).policy


@given(PATTERNS, PATTERNS, PATTERNS, NAMES, POLICIES)
def test_the_strictest_list_wins(
    allow: list[str], ask: list[str], deny: list[str], name: str, default: PolicyName
) -> None:
    whole = policy(rules(allow=allow, ask=ask, deny=deny), name, default=default)
    for stricter in (rules(allow=allow, ask=[*ask, "*"], deny=deny), rules(allow=allow, ask=ask, deny=[*deny, "*"])):
        assert ORDER[policy(stricter, name, default=default)] >= min(ORDER[whole], 1)
    without = policy(rules(allow=[], ask=ask, deny=deny), name, default="deny")
    assert ORDER[whole] <= ORDER[without]
    if whole == "allow":
        assert dangerous_word(name, {}) is None


@given(st.lists(POLICIES, min_size=1))
def test_strictest(policies: list[PolicyName]) -> None:
    assert ORDER[strictest(*policies)] == max(ORDER[name] for name in policies)


def test_a_tool_no_rule_names_has_the_default() -> None:
    assert policy(rules(allow=["read_*"]), "write_file") == "ask"
    assert policy(rules(allow=["read_*"]), "write_file", default="deny") == "deny"
    assert policy(rules(allow=["read_*"]), "read_file", default="deny") == "allow"
    assert policy(rules(allow=["*"], deny=["read_*"]), "read_file") == "deny"


def test_a_dangerous_word_counts_where_the_rules_ask_too() -> None:
    """Or what was allowed for longer would cover it."""
    for settings, name, arguments in (
        (rules(ask=["*"]), "rm_it", {}), (rules(), "run_shell", {"line": ["ls", {"then": "rm -rf /"}]}),
    ):  # fmt: skip
        verdict = decide(settings, "ask", f"fs_{name}", name, arguments)
        assert (verdict.policy, verdict.dangerous) == ("ask", "rm")
    assert decide(rules(deny=["*"]), "ask", "fs_rm_it", "rm_it", {}).policy == "deny"


@pytest.mark.parametrize("text", ["DrOp TABLE users", "dRoP", "rM -rf", "unLink('x')", "dEleTe"])
def test_a_word_is_found_however_it_is_written(text: str) -> None:
    assert dangerous_word("sql", {"text": text}) in DANGEROUS


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("delete_file", "delete"), ("deleteFile", "delete"), ("fs_rm", "rm"), ("RMDIR", "rmdir"), ("DropTable", "drop"),
        ("kill-9", "kill"), ("diskFormat", "format"), ("fs.unlink", "unlink"), ("truncate2", "truncate"),
        ("undelete", None), ("information", None), ("dropbox_list", None), ("formatter", None), ("skill", None),
        ("firm", None), ("deleted_files", None), ("shutdownNow", "shutdown"), ("HTTPKill", "kill"),
    ],
)  # fmt: skip
def test_dangerous_words_in_names(name: str, word: str | None) -> None:
    assert dangerous_word(name, {}) == word


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("run_shell", {"cmd": "ls && rm -rf /"}, "rm"),
        ("execute", {"a": [{"b": ["DROP TABLE users"]}]}, "drop"),
        ("mysql_run", {"q": "select 1; truncate t"}, "truncate"),
        ("runCommand", {"c": "systemctl\nkill x"}, "kill"),
        ("db_query", {"q": "fooDelete()"}, "delete"),
        ("run_shell", {"cmd": "ls /firm/formatted"}, None),
        ("run_shell", {"rm": 1, "cmd": 5}, None),
        ("write_file", {"text": "how to delete a file with rm"}, None),
    ],
)
def test_dangerous_words_in_what_a_command_tool_is_told(name: str, arguments: Any, word: str | None) -> None:
    assert dangerous_word(name, arguments) == word
    settings = rules(allow=["*"])
    verdict = decide(settings, "allow", f"fs_{name}", name, arguments)
    assert (verdict.policy, verdict.dangerous) == (("ask", word) if word else ("allow", None))


@given(st.sampled_from(sorted(DANGEROUS)), st.sampled_from(["", "_", "-", " ", "/", "9"]))
def test_a_word_is_found_whatever_stands_around_it(word: str, mark: str) -> None:
    assert dangerous_word(f"tool{mark or '_'}{word}{mark}", {}) == word
    assert word in list(words(f"a{mark or ' '}{word.upper()}{mark}"))


def test_rules_on_arguments() -> None:
    settings = rules(
        allow=[{"tool": "get", "arguments": {"url": "https://example.org/*"}}],
        deny=[{"tool": "get", "arguments": {"url": "*secret*"}}],
    )
    assert policy(settings, "get", {"url": "https://example.org/a"}) == "allow"
    assert policy(settings, "get", {"url": "https://example.com/a"}) == "ask"
    assert policy(settings, "get", {"url": "https://example.org/secret"}) == "deny"
    assert policy(settings, "get", {}) == "ask"
    assert policy(settings, "get", {"url": ["https://example.org/a", "https://evil.example/"]}) == "ask"
    assert policy(settings, "get", {"url": "https://example.org/../x"}) == "ask"
    nested = rules(allow=[{"tool": "get", "arguments": {"to.host": "a"}}])
    assert policy(nested, "get", {"to": {"host": "a"}}) == "allow"
    assert policy(nested, "get", {"to": [{"host": "a"}, {"host": "b"}]}) == "ask"


@pytest.mark.attack(48)
@pytest.mark.parametrize(
    "command",
    ["ls; id", "ls $(id)", "ls `id`", "ls | sh", "ls > /etc/x", "ls && id", "ls \n id", "ls 'a", 'l""s x', "ls $HOME",
     "ls *", "env ls", "/bin/ls", "ls\x00x", "ls ~", "ls {a,b}"],
)  # fmt: skip
def test_an_allowed_command_does_not_stretch(command: str) -> None:
    settings = rules(allow=[{"tool": "run_shell", "arguments": {"command": "ls *"}}])
    assert policy(settings, "run_shell", {"command": "ls /tmp"}) == "allow"
    assert policy(settings, "run_shell", {"command": command}) == "ask"


@pytest.mark.attack(49)
def test_paths_lie_beneath(tmp_path: Path) -> None:
    data, sibling, outside = tmp_path / "data", tmp_path / "data_x", tmp_path / "outside"
    for folder in (data, sibling, outside):
        folder.mkdir()
    (data / "link").symlink_to(outside)
    (data / "dangling").symlink_to(outside / "not-yet")
    (data / "inner").symlink_to(data)
    settings = rules(allow=[{"tool": "read", "paths": {"path": [str(data)]}}])

    def verdict(path: Any) -> str:
        return policy(settings, "read", {"path": path})

    assert verdict(f"{data}/a.txt") == verdict(str(data)) == verdict(f"{data}/inner/a") == "allow"
    assert verdict(f"{data}/new/deep/file") == "allow"
    for path in (
        f"{sibling}/a", f"{data}/../data_x/a", f"{data}/link/a", f"{data}/dangling", f"{outside}/a", "a.txt", "~/a",
        f"{data}/\x00", 5, None, [f"{data}/a", f"{outside}/a"], f"file://{data}/a", "",
    ):  # fmt: skip
        assert verdict(path) == "ask", path
    strict = rules(allow=["*"], deny=[{"tool": "read", "paths": {"path": [str(outside)]}}])
    assert policy(strict, "read", {"path": f"{data}/link/a"}) == "deny"
    assert policy(strict, "read", {"path": f"{data}/a"}) == "allow"


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "a_x"]), max_size=6))
def test_beneath_agrees_with_the_system(parts: list[str]) -> None:
    path = os.path.normpath("/" + "/".join(["a", *parts]))
    assert is_beneath(path, "/a") == (Path(path) == Path("/a") or Path("/a") in Path(path).parents)
    assert is_beneath(path, "/")


@pytest.mark.attack(49)
def test_a_path_that_leads_nowhere_known_passes_no_refusal(tmp_path: Path) -> None:
    """A server resolves it against folders of its own; a `file:` address is a path like any other."""
    secret = tmp_path / "secret"
    secret.mkdir()
    refusing = rules(allow=["*"], deny=[{"tool": "*", "paths": {"path": [str(secret)]}}])
    asking = rules(allow=["*"], ask=[{"tool": "*", "paths": {"path": [str(secret)]}}])
    for settings, certain in ((refusing, "deny"), (asking, "ask")):
        for path, found in (
            ("key", "ask"), ("../x/secret/key", "ask"), (["/elsewhere", "key"], "ask"), (f"{secret}/key", certain),
            (f"file://{secret}/key", certain), (f"FILE://localhost{tmp_path}/a/%2e%2e/secret", certain),
            ("/elsewhere", "allow"), ("file:///elsewhere", "allow"), (5, "allow"),
        ):  # fmt: skip
            assert policy(settings, "read", {"path": path}) == found, path
    assert policy(refusing, "read", {"other": "key"}) == "allow"


def test_a_path_with_an_end_of_text_in_it_passes_no_refusal(tmp_path: Path) -> None:
    """Programs in C read it as what comes before."""
    odd = {"path": f"{tmp_path}/secret\0.txt"}
    assert policy(rules(allow=["*"], deny=[{"tool": "*", "paths": {"path": [str(tmp_path)]}}]), "read", odd) == "deny"
    assert policy(rules(allow=[{"tool": "*", "paths": {"path": [str(tmp_path)]}}]), "read", odd) == "ask"


def test_what_the_catalogue_shows() -> None:
    settings = rules(
        allow=["read_*", {"tool": "get", "arguments": {"a": "b"}}],
        deny=["drop_*", {"tool": "x", "arguments": {"a": "b"}}],
    )
    assert standing(settings, "ask", "fs_read_file", "read_file") == "allow"
    assert standing(settings, "ask", "fs_get", "get") == "ask"
    assert standing(settings, "ask", "fs_drop_it", "drop_it") == "deny"
    assert standing(settings, "allow", "fs_x", "x") == "ask"
    assert standing(settings, "allow", "fs_kill", "kill") == "ask"
    assert standing(settings, "deny", "fs_other", "other") == "deny"


def test_idempotent_is_the_persons_word() -> None:
    assert idempotent(rules(idempotent=["read_*"]), "read_file")
    assert not idempotent(rules(allow=["*"]), "read_file")


def test_an_argument_with_dots_in_its_name_hides_none_that_is_nested(tmp_path: Path) -> None:
    """Which of both the server reads is not known: a refusal holds for either, an allowance must hold for both."""
    secret, harmless = str(tmp_path / "secret" / "key"), str(tmp_path / "open" / "page")
    denied = rules(deny=[{"paths": {"where.in.path": [str(tmp_path / "secret")]}}], allow=["*"])
    allowed = rules(allow=[{"paths": {"where.in.path": [str(tmp_path / "open")]}}])
    forms: list[dict[str, Any]] = [
        {"where": {"in": {"path": secret}}}, {"where.in": {"path": secret}}, {"where": {"in.path": [secret]}},
    ]  # fmt: skip
    for form in forms:
        for arguments in (form, {"where.in.path": harmless, **form}):
            assert policy(denied, "read", arguments) == "deny", arguments
            assert policy(allowed, "read", arguments) == "ask", arguments
    assert policy(allowed, "read", {"where.in.path": harmless}) == "allow"


@pytest.mark.attack(48)
def test_a_name_is_the_same_however_its_accents_are_composed(tmp_path: Path) -> None:
    """A refusal holds for both; an allowance of a folder only for the one that was written."""
    composed, apart = "r\u00e9sum\u00e9", "re\u0301sume\u0301"
    for one, other in ((composed, apart), (apart, composed)):
        assert policy(rules(deny=[f"{one}*"], allow=["*"]), f"{other}_x") == "deny"
        assert policy(rules(allow=[f"{one}*"]), f"{other}_x") == "allow"
        assert idempotent(rules(idempotent=[one]), other)
        assert standing(rules(deny=[one], allow=["*"]), "allow", "fs_x", other) == "deny"
        path = str(tmp_path / other / "key")
        folder = {"paths": {"path": [str(tmp_path / one)]}}
        assert policy(rules(deny=[folder], allow=["*"]), "read", {"path": path}) == "deny"
        assert (
            policy(rules(deny=[{"arguments": {"path": f"*/{one}/*"}}], allow=["*"]), "read", {"path": path}) == "deny"
        )
        assert policy(rules(allow=[folder]), "read", {"path": path}) == "ask"
