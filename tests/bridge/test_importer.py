"""Taking servers over from other programs: their files as they write them, secrets by reference."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.choosing import choose
from bridge.configuration import ConfigurationError, References, RefusedForSafety
from bridge.editing import ConfigurationFile, add_secrets, read_secrets
from bridge.importer import ImportFailed, Source, places, read, sources
from bridge.importing import run_import
from bridge.jsonc import looks_like_json, plain_json
from bridge.loading import load, parse

CLAUDE = {
    "mcpServers": {
        "files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me"]},
        "git hub": {
            "command": "docker", "args": ["run", "-i", "x"], "env": {"GITHUB_TOKEN": "ghp_secret", "DEBUG": "1"},
        },
        "remote": {
            "type": "http", "url": "https://x.example/mcp", "headers": {"Authorization": "Bearer abc", "X-A": "b"},
        },
        "off": {"command": "x", "disabled": True, "alwaysAllow": ["rm"]},
    }
}  # fmt: skip
VSCODE = """{
  // the servers of this project
  "inputs": [{"type": "promptString", "id": "key", "description": "API key", "password": true}],
  "servers": {
    "memory": {"type": "stdio", "command": "npx", "args": ["-y", "m"], "envFile": "${workspaceFolder}/.env",},
    "web": {"type": "sse", "url": "http://127.0.0.1:1/sse", "headers": {"X-Api-Key": "${input:key}"}}, /* last */
  },
}
"""
CODE = {
    "projects": {"/a": {"mcpServers": {"one": {"command": "a"}}}, "/b": {}},
    "mcpServers": {"two": {"command": "b"}},
}


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with Claude Desktop's file in it, as on Linux."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".config" / "Claude" / "claude_desktop_config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(CLAUDE))
    return file


def test_the_entries_and_their_secrets(claude: Path) -> None:
    (source,) = sources(None, os.environ)
    found = {item.name: item for item in read(source)}
    assert found["files"].entry == {"name": "files", "command": "npx", "args": CLAUDE["mcpServers"]["files"]["args"]}
    assert found["git-hub"].entry["env"] == {"GITHUB_TOKEN": "${secret:GIT_HUB_GITHUB_TOKEN}", "DEBUG": "1"}
    assert found["git-hub"].secrets == {"GIT_HUB_GITHUB_TOKEN": "ghp_secret"}
    assert found["remote"].entry["headers"] == {"Authorization": "${secret:REMOTE_AUTHORIZATION}", "X-A": "b"}
    assert found["remote"].secrets == {"REMOTE_AUTHORIZATION": "Bearer abc"}
    assert found["off"].entry["enabled"] is False
    assert "tools" not in found["off"].entry


def test_vs_code(tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".env").write_text("export MEMORY_KEY='k1'\n# no\nPLAIN=2\n")
    file = tmp_path / ".vscode" / "mcp.json"
    file.write_text(VSCODE)
    memory, web = read(Source("vscode", file))
    assert memory.entry["env"] == {"MEMORY_KEY": "${secret:MEMORY_MEMORY_KEY}", "PLAIN": "2"}
    assert web.entry == {
        "name": "web", "transport": "sse", "url": "http://127.0.0.1:1/sse",
        "headers": {"X-Api-Key": "${secret:WEB_KEY}"}, "enabled": False,
    }  # fmt: skip
    assert web.notes == ["write WEB_KEY into secrets.yaml: API key, and enable it"]


def test_claude_code_and_its_projects(tmp_path: Path) -> None:
    file = tmp_path / ".claude.json"
    file.write_text(json.dumps(CODE))
    assert sorted(item.name for item in read(Source("claude", file))) == ["one", "two"]


@pytest.mark.parametrize(
    ("system", "environ", "program", "place"),
    [
        ("linux", {"HOME": "/h"}, "claude", "/h/.config/Claude/claude_desktop_config.json"),
        ("linux", {"HOME": "/h"}, "claude", "/h/.claude.json"),
        ("linux", {"HOME": "/h"}, "cursor", "/h/.cursor/mcp.json"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "vscode", "/x/Code/User/mcp.json"),
        ("linux", {"HOME": "/h"}, "windsurf", "/h/.codeium/windsurf/mcp_config.json"),
        ("darwin", {"HOME": "/h"}, "claude", "/h/Library/Application Support/Claude/claude_desktop_config.json"),
        ("darwin", {"HOME": "/h"}, "vscode", "/h/Library/Application Support/Code/User/mcp.json"),
        ("win32", {"USERPROFILE": "/u", "APPDATA": "/u/r"}, "claude", "/u/r/Claude/claude_desktop_config.json"),
        ("win32", {"USERPROFILE": "/u", "APPDATA": "/u/r"}, "cursor", "/u/.cursor/mcp.json"),
        ("win32", {"USERPROFILE": "/u", "APPDATA": "/u/r"}, "vscode", "/u/r/Code/User/mcp.json"),
    ],
)  # fmt: skip
def test_where_the_files_are(system: str, environ: dict[str, str], program: str, place: str) -> None:
    assert (program, Path(place)) in list(places(environ, system))


def test_the_command_writes_configuration_and_secrets(claude: Path, tmp_path: Path, capsys: Any) -> None:
    said: list[str] = []
    assert run_import(None, "claude", ["git-hub", "remote"], everything=False, say=said.append) == 0
    folder = tmp_path / ".ai-bridge"
    assert capsys.readouterr().out.split() == ["git-hub", "remote"]
    text = (folder / "config.yaml").read_text()
    assert "ghp_secret" not in text
    assert "abc" not in text
    assert not any("ghp_secret" in line for line in said)
    assert stat.S_IMODE((folder / "secrets.yaml").stat().st_mode) == 0o600
    settings = load(None).settings
    assert [server.name for server in settings.mcp_servers] == ["git-hub", "remote"]
    assert settings.mcp_servers[0].env["GITHUB_TOKEN"].get_secret_value() == "ghp_secret"
    # once more: nothing is doubled, and what is new is added
    assert run_import(None, "claude", None, everything=True, say=said.append) == 0
    assert [server.name for server in load(None).settings.mcp_servers] == ["git-hub", "remote", "files", "off"]


def test_what_is_no_server_is_left_out_and_the_rest_taken_over(claude: Path) -> None:
    """The configuration that is written is one that can be loaded."""
    odd = {
        "nothing": {"args": ["x"]}, "number": 5, "none": None, "both": {"command": "x", "url": "http://127.0.0.1/"},
        "file": {"url": "file:///etc/passwd"},
    }  # fmt: skip
    claude.write_text(json.dumps({"mcpServers": odd | CLAUDE["mcpServers"]}))
    said: list[str] = []
    assert run_import(None, "claude", None, everything=True, say=said.append) == 0
    assert [server.name for server in load(None).settings.mcp_servers] == ["files", "git-hub", "remote", "off"]
    for name in odd:
        assert any(line.startswith(f"{name}: left out, ") for line in said)


def test_comments_and_forms_of_the_configuration_stay(claude: Path, tmp_path: Path) -> None:
    config = tmp_path / "c" / "config.yaml"
    config.parent.mkdir()
    config.write_text("# mine\nmcpServers:\n  own: {command: x}   # keep\n")
    run_import(config, "claude", ["files"], everything=False, say=lambda _: None)
    text = config.read_text()
    assert "# mine" in text
    assert "# keep" in text
    assert [server.name for server in load(config).settings.mcp_servers] == ["own", "files"]


def test_a_readable_secrets_file_is_refused(claude: Path, tmp_path: Path) -> None:
    secrets = tmp_path / ".ai-bridge" / "secrets.yaml"
    secrets.parent.mkdir()
    secrets.write_text("A: b\n")
    secrets.chmod(0o644)
    with pytest.raises(RefusedForSafety, match="chmod 600"):
        run_import(None, None, None, everything=True, say=lambda _: None)
    assert not (tmp_path / ".ai-bridge" / "config.yaml").exists()


def test_secrets_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "secrets.yaml"
    add_secrets(path, {"A": "1", "B": "two: #lines\nx"})
    add_secrets(path, {"A": "3", "C": "${x}"})
    assert read_secrets(path) == {"A": "3", "B": "two: #lines\nx", "C": "${x}"}


@pytest.mark.parametrize("text", ["", "nonsense", "[1,2]", '{"mcpServers": 5}', '{"a": {}}', "\x00", "{"])
def test_files_that_are_something_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    try:
        assert read(Source("file", file)) == []
    except ImportFailed as error:
        assert str(file) in str(error)


def test_what_is_selected_must_be_there(claude: Path) -> None:
    found = read(sources("claude", os.environ)[0])
    with pytest.raises(ImportFailed, match="not found: nope"):
        choose(found, set(), ["nope"])
    chosen, notes = choose([*found, *found], {"files"}, None)
    assert [item.name for item in chosen] == ["git-hub", "remote", "off"]
    assert notes == ["files: configured already, left as it is"] * 2
    with pytest.raises(ConfigurationError, match="not found"):
        run_import(None, "claude", ["nope"], everything=False, say=lambda _: None)
    with pytest.raises(ConfigurationError, match="--all"):
        run_import(None, "claude", None, everything=False, say=lambda _: None)


def test_a_broken_configuration_is_not_overwritten(claude: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"config\.yaml:"):
        run_import(config, "claude", None, everything=True, say=lambda _: None)
    assert config.read_text() == "a: ["


def test_json_with_comments_keeps_its_places(tmp_path: Path) -> None:
    entry = '"a": {"command": "x", "args": ["// no", "/* no */",], "comand": 1,}'
    text = '// c\n{\n\t"mcpServers": { /* x\n */ ' + entry + ",},\n}\n"
    assert looks_like_json(text)
    assert not looks_like_json("a: {b: 1}")
    assert len(plain_json(text)) == len(text)
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "mcp.json", References({}, tmp_path))
    assert str(caught.value).startswith("mcp.json:4:")
    assert "comand: unknown key" in str(caught.value)
    good = parse(text.replace(' "comand": 1,', ""), "mcp.json", References({}, tmp_path))
    assert good.mcp_servers[0].args == ("// no", "/* no */")


LEAVES = st.none() | st.booleans() | st.text(max_size=9)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_plain_json_is_left_as_it_is(value: Any) -> None:
    assert json.loads(plain_json(json.dumps(value))) == value


def test_positions_of_a_mistake_in_yaml(tmp_path: Path) -> None:
    text = "version: '1.0'\nmcp_servers:\n  - name: fs\n    comand: x\n"
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "config.yaml", References({}, tmp_path))
    assert "config.yaml:4:5 mcp_servers[0].comand: unknown key (did you mean 'command'?)" in str(caught.value)


def test_references(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from a file\n")
    add_secrets(tmp_path / "secrets.yaml", {"S": "secret"})
    servers = [
        {
            "name": "a", "command": "x",
            "env": {"A": "${V}", "B": "${env:V}", "C": "${N:-d}", "D": "${file:f}", "E": "${secret:S}"},
        },
        {"name": "off", "command": "x", "enabled": False, "env": {"A": "${NOT_THERE}"}},
        {"name": "off2", "command": "x", "disabled": True, "env": {"A": "${NOT_THERE}"}},
    ]  # fmt: skip
    settings = parse(json.dumps({"mcp_servers": servers}), "c", References({"V": "v"}, tmp_path))
    values = {name: secret.get_secret_value() for name, secret in settings.mcp_servers[0].env.items()}
    assert values == {"A": "v", "B": "v", "C": "d", "D": "from a file", "E": "secret"}
    with pytest.raises(ConfigurationError, match="NOT_THERE"):
        parse('{"server": {"token": "${NOT_THERE}"}}', "c", References({}, tmp_path))


def test_editing_takes_members_away(tmp_path: Path) -> None:
    file = ConfigurationFile(tmp_path / "config.yaml")
    file.put("server", {"url": "wss://a.example/tunnel", "token": "x"})
    file.put("server", {"token": None})
    file.save()
    assert load(tmp_path / "config.yaml").settings.server.token is None


@pytest.mark.parametrize("content", ['{"mcpServers": {}}'.encode("utf-16"), b"\xff\xfe\x00"])
def test_a_file_that_is_no_utf8_is_left_out(claude: Path, tmp_path: Path, content: bytes) -> None:
    strange = tmp_path / ".cursor" / "mcp.json"
    strange.parent.mkdir()
    strange.write_bytes(content)
    said: list[str] = []
    assert run_import(tmp_path / "config.yaml", None, None, everything=True, say=said.append) == 0
    assert any(line.startswith("left out: ") and "mcp.json" in line for line in said)


def test_a_command_with_a_quote_that_is_not_closed_is_shown_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"mcpServers": {"one": {"command": "echo 'open"}}}))
    (found,) = read(Source("file", file))
    assert found.entry["command"] == "echo 'open"


def test_secrets_of_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    servers = {
        name: {"command": "a", "env": {"KEY": value, "ALSO": "x"}, "headers": {"X-Key": "both"}}
        for name, value in [("a-b", "first"), ("a_b", "second"), ("c", "third")]
    }
    file.write_text(json.dumps({"mcpServers": servers}))
    add_secrets(tmp_path / "secrets.yaml", {"C_KEY": "the person's own"})
    assert run_import(tmp_path / "config.yaml", str(file), None, everything=True, say=lambda _: None) == 0
    loaded = load(tmp_path / "config.yaml", {})
    assert [one.env["KEY"].get_secret_value() for one in loaded.settings.mcp_servers] == ["first", "second", "third"]
    held = read_secrets(tmp_path / "secrets.yaml")
    assert held["C_KEY"] == "the person's own"
    assert held["A_B_X_KEY"] == "both"
    assert "A_B_X_KEY_2" not in held
