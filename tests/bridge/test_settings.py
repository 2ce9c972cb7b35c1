"""The models of the bridge's file, and the forms other programs write."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from bridge.errors import BY_CODE
from bridge.settings import BridgeSettings, McpServers, is_loopback_url, parse_duration, source_location

SERVERS: TypeAdapter[Any] = TypeAdapter(McpServers)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("60s", 60), ("10m", 600), ("1h", 3600), ("500ms", 0.5), (3, 3), ("1.5", 1.5)]
)
def test_durations(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 parsecs", "-1s", True, None, "nan", [5], float("nan"), "1e9d"])
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_the_contract_example() -> None:
    settings = BridgeSettings.model_validate({
        "version": "1.0",
        "server": {"url": "wss://gateway.example/v1/tunnel", "token": "t", "reconnect_interval": "5s", "name": "lap"},
        "mcp_servers": [{
            "name": "fs", "command": "npx", "args": ["-y", "x", "/home/me/docs"], "env": {"KEY": "v"},
            "tools": {"allow": ["*"], "ask": ["write_*"], "deny": ["delete_*"], "idempotent": ["read_*"]},
        }],
        "policy": {"default": "ask", "ask_timeout": "60s", "confirm": "chat"},
    })  # fmt: skip
    (server,) = settings.mcp_servers
    assert server.kind == "stdio"
    assert [rule.tool for rule in server.tools.ask] == ["write_*"]
    assert settings.server.token is not None
    assert "'t'" not in repr(settings)
    assert settings.policy.ask_timeout == 60


MAP = {"fs": {"command": "npx", "args": ["-y"]}, "web": {"type": "http", "url": "https://x.example/mcp"}}


@pytest.mark.parametrize(
    "document", [MAP, {"mcpServers": MAP}, {"servers": MAP, "inputs": []}, {"mcp": {"servers": MAP}}]
)
def test_the_forms_of_other_programs(document: Any) -> None:
    fs, web = SERVERS.validate_python(document)
    assert (fs.name, fs.kind, web.name, web.kind) == ("fs", "stdio", "web", "http")


@pytest.mark.parametrize("key", ["mcpServers", "servers", "mcp_servers"])
def test_the_whole_file_takes_each_key(key: str) -> None:
    assert [s.name for s in BridgeSettings.model_validate({key: MAP}).mcp_servers] == ["fs", "web"]


def test_a_server_named_servers() -> None:
    (one,) = SERVERS.validate_python({"servers": {"command": "x"}})
    assert one.name == "servers"


def test_foreign_words() -> None:
    one, two = SERVERS.validate_python({
        "a": {"serverUrl": "https://a.example/sse", "type": "sse", "disabled": True, "alwaysAllow": ["rm"]},
        "b": {"command": "x", "type": "stdio", "autoApprove": []},
    })  # fmt: skip
    assert (one.kind, one.enabled, one.tools.allow) == ("sse", False, ())
    assert two.kind == "stdio"


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x"},
        {"name": "x", "command": "a", "url": "http://localhost"},
        {"name": "x", "command": "a", "transport": "sse"},
        {"name": "x", "url": "ftp://x"},
        {"name": "x", "url": "https://"},
        {"name": "", "command": "a"},
        {"name": "x", "comand": "a"},
        {"name": "x", "command": "a", "env": {"A": True}},
        {"name": "x", "command": "a", "max_in_flight": 0},
        {"name": "x", "command": "a", "tools": {"alow": []}},
    ],
)
def test_mistakes_are_named(entry: Any) -> None:
    with pytest.raises(ValidationError):
        SERVERS.validate_python([entry])


def test_two_of_a_name() -> None:
    with pytest.raises(ValidationError, match="two MCP servers are named 'x'"):
        SERVERS.validate_python([{"name": "x", "command": "a"}, {"name": "x", "command": "b"}])


def test_where_a_mistake_was_written() -> None:
    for document, location, expected in [
        ({"mcpServers": MAP}, ("mcp_servers", 1, "url"), ("mcpServers", "web", "url")),
        ({"mcpServers": MAP}, ("mcp_servers", 1, "transport"), ("mcpServers", "web", "type")),
        ({"mcp_servers": {"mcpServers": MAP}}, ("mcp_servers", 0), ("mcp_servers", "mcpServers", "fs")),
        ({"mcp_servers": [{"name": "x"}]}, ("mcp_servers", 0, "comand"), ("mcp_servers", 0, "comand")),
        ({"server": {}}, ("server", "url"), ("server", "url")),
        (MAP, (0, "args", 0), ("fs", "args", 0)),
    ]:
        assert source_location(document, location) == expected


def test_tokens_do_not_travel_in_urls() -> None:
    with pytest.raises(ValidationError, match="never goes into the URL"):
        BridgeSettings.model_validate({"server": {"url": "wss://x.example/tunnel?token=abc"}})


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("ws://127.0.0.1:8080/tunnel", True), ("ws://[::1]/", True), ("ws://localhost/", True),
        ("ws://gateway.example/", False), ("ws://10.0.0.1/", False), ("ws://127.0.0.1.example/", False),
        ("ws://0.0.0.0/", False), ("ws://localhost.example/", False),
    ],
)  # fmt: skip
def test_loopback(url: str, loopback: bool) -> None:
    assert is_loopback_url(url) is loopback


def test_numbers_of_the_contract() -> None:
    from bus.errors import BY_CODE as BUS

    assert {code: (cls.__name__, cls.retryable) for code, cls in BY_CODE.items()} == {
        code: (cls.__name__, cls.retryable) for code, cls in BUS.items() if code in BY_CODE
    }


def test_the_file_is_json_able() -> None:
    schema = json.dumps(BridgeSettings.model_json_schema())
    assert "mcp_servers" in schema
