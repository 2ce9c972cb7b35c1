"""Every mistake of a file at once: references that lead nowhere do not hide what stands around them."""

from pathlib import Path

import pytest

from bridge.configuration import ConfigurationError, References
from bridge.loading import parse
from gateway.settings import load_settings


def told(text: str, folder: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "c.yaml", References({}, folder))
    return str(caught.value).splitlines()


def test_a_missing_variable_and_a_mistyped_key(tmp_path: Path) -> None:
    text = (
        "server: {url: 'wss://x/v1/tunnel', token: '${TOKEN}', naem: a}\n"
        "mcp_servers:\n  fs:\n    comand: npx\n    timeout: soon\n    env: {KEY: '${KEY}'}\n"
    )
    lines = told(text, tmp_path)
    assert lines[0] == "c.yaml:1:43 server.token: the environment variable TOKEN is not set"
    assert lines[1] == "c.yaml:1:55 server.naem: unknown key (did you mean 'name'?)"
    assert any("mcp_servers.fs.comand: unknown key (did you mean 'command'?)" in line for line in lines)
    assert any("mcp_servers.fs.timeout: a duration like" in line for line in lines)
    assert lines[-1] == "c.yaml:6:16 mcp_servers.fs.env.KEY: the environment variable KEY is not set"


def test_what_a_missing_text_would_have_been_is_not_guessed_at(tmp_path: Path) -> None:
    text = "server: {url: '${URL}'}\nmcp_servers:\n  fs: {command: npx, timeout: '${SOON}'}\n"
    assert told(text, tmp_path) == [
        "c.yaml:1:15 server.url: the environment variable URL is not set",
        "c.yaml:3:31 mcp_servers.fs.timeout: the environment variable SOON is not set",
    ]


def test_a_key_that_nobody_knows_is_wrong_whatever_stands_there(tmp_path: Path) -> None:
    lines = told("mcp_servers:\n  fs: {command: npx, cdw: '${FOLDER}'}\n", tmp_path)
    assert [line.partition(": ")[2] for line in lines] == [
        "unknown key (did you mean 'cwd'?)", "the environment variable FOLDER is not set"
    ]  # fmt: skip


def test_the_gateway_tells_both_too(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text("server: {prot: 1}\nmodels:\n  - {name: a, model: b, api_key: '${KEY}'}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, {"HOME": str(tmp_path)})
    assert "server.prot: unknown key" in str(caught.value)
    assert "the environment variable KEY is not set" in str(caught.value)
