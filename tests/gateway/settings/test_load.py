"""Where the settings come from, and what wins."""

import stat
from pathlib import Path

import pytest

from bridge.configuration import ConfigurationError, RefusedForSafety
from gateway.settings import GatewaySettings, gateway_home, load_settings


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(there: Path, text: str | None = None, **environ: str) -> GatewaySettings:
    path = None
    if text is not None:
        path = there / "config.yaml"
        path.write_text(text)
    return load_settings(path, {"HOME": str(there), **environ}).settings


def refused(there: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(there, text, **environ)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_nothing_at_all_is_the_defaults_of_the_contract(there: Path):
    loaded = load_settings(None, {"HOME": str(there)})
    settings = loaded.settings
    assert settings == GatewaySettings()
    assert loaded.source is None and loaded.home == there / ".gateway"
    assert (settings.server.host, settings.server.port, settings.server.max_connections) == ("127.0.0.1", 8080, 1000)
    assert (settings.server.max_message_bytes, settings.server.max_media_bytes) == (1048576, 20971520)
    assert settings.server.heartbeat_seconds == 30
    assert settings.server.allowed_ips == settings.server.allowed_origins == settings.models == []
    assert settings.limits.model_dump() == {
        "messages_per_minute": 100, "queued_messages_per_session": 20, "turns_per_user": 4, "turn_seconds": 600,
        "drain_seconds": 30,
    }  # fmt: skip
    assert (settings.agent.mode, settings.agent.max_rounds, settings.agent.tool_seconds) == ("auto", 25, 120)
    assert not settings.channels.telegram.enabled and settings.channels.telegram.dm_policy == "pairing"
    assert settings.logging.model_dump() == {"level": "info", "format": "auto", "audit_files": 10}
    assert settings.speech_to_text is None and settings.mcp_servers == ()


def test_the_order_of_the_search(there: Path):
    home = there / "state"
    places = {
        "option": there / "option.yaml",
        "variable": there / "variable.yaml",
        "example": there / "config" / "gateway.yaml",
        "home": home / "config.yaml",
    }
    for port, path in enumerate(places.values(), start=1001):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"server: {{port: {port}}}\n")
    environ = {"HOME": str(there), "GATEWAY_HOME": str(home), "GATEWAY_CONFIG": str(places["variable"])}
    assert load_settings(places["option"], environ).settings.server.port == 1001
    assert load_settings(None, environ).settings.server.port == 1002
    del environ["GATEWAY_CONFIG"]
    assert load_settings(None, environ).settings.server.port == 1003
    places["example"].write_text("# server: {port: 1}\n")
    loaded = load_settings(None, environ)
    assert loaded.settings.server.port == 1004, "a file that says nothing is no file"
    assert loaded.source == places["home"]
    places["home"].unlink()
    assert load_settings(None, environ).settings.server.port == 8080


def test_a_named_file_must_be_there(there: Path):
    with pytest.raises(ConfigurationError, match="no such file"):
        load_settings(there / "none.yaml", {"HOME": str(there)})
    with pytest.raises(ConfigurationError, match="no such file"):
        load_settings(None, {"HOME": str(there), "GATEWAY_CONFIG": "none.yaml"})


def test_home(there: Path):
    assert gateway_home({"HOME": "/home/x"}) == Path("/home/x/.gateway")
    assert gateway_home({"HOME": "/home/x", "GATEWAY_HOME": "/data"}) == Path("/data")


def test_the_environment_wins_over_the_file_and_options_over_both(there: Path):
    text = "server: {port: 1, host: localhost}\nlogging: {level: debug}\n"
    environ = {"GATEWAY__SERVER__PORT": "9000", "GATEWAY__SERVER__ALLOWED_IPS": '["10.0.0.0/8"]'}
    settings = load(there, text, **environ, GATEWAY__SERVER__TLS_TERMINATED_BY_PROXY="false")
    assert (settings.server.port, settings.server.host, settings.logging.level) == (9000, "localhost", "debug")
    assert settings.server.allowed_ips == ["10.0.0.0/8"]
    loaded = load_settings(
        there / "config.yaml", {"HOME": str(there), **environ}, overrides={("server", "port"): ("--port", 7)}
    )
    assert loaded.settings.server.port == 7


def test_whole_sections_and_items_of_lists_from_the_environment(there: Path):
    settings = load(
        there,
        "models: [{name: a, model: m}]\n",
        GATEWAY__MODELS__0__TIER="2",
        GATEWAY__LIMITS='{"turns_per_user": 9}',
        GATEWAY__LIMITS__TURN_SECONDS="5",
        GATEWAY__CHANNELS__TELEGRAM__GROUPS='{"-100": {"allow_from": [7]}}',
        GATEWAY__SERVER__TLS__CERT="null",
    )
    assert settings.models[0].tier == 2
    assert (settings.limits.turns_per_user, settings.limits.turn_seconds) == (9, 5)
    assert settings.channels.telegram.groups["-100"].allow_from == ["7"]


def test_an_unknown_variable_is_a_mistake_with_a_suggestion(there: Path):
    assert "GATEWAY__SERVER__PROT server.prot: unknown key (did you mean 'port'?)" in refused(
        there, "", GATEWAY__SERVER__PROT="1"
    )
    assert "GATEWAY__SERVER__PORT server.port: must be a whole number" in refused(
        there, "", GATEWAY__SERVER__PORT="sk-canary"
    )


def test_a_model_key_in_the_environment_is_a_model(there: Path):
    [model] = load(there, None, OPENAI_API_KEY="sk-1").models
    assert (model.name, model.model, model.base_url, model.tier) == ("main", "gpt-5", "https://api.openai.com/v1", 1)
    assert model.api_key is not None and model.api_key.get_secret_value() == "sk-1"
    environ = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "qwen"}
    [model] = load(there, None, **environ).models
    assert (model.model, model.base_url) == ("qwen", "http://127.0.0.1:1/v1")
    [model] = load(there, "models: [{name: mine, model: x}]\n", **environ).models
    assert (model.name, model.api_key) == ("mine", None)


def test_credentials_in_the_environment_turn_a_channel_on(there: Path):
    channels = load(there, None, TELEGRAM_BOT_TOKEN="1:a", DISCORD_BOT_TOKEN="d").channels
    assert channels.telegram.enabled and channels.discord.enabled and not channels.feishu.enabled
    assert channels.telegram.token and channels.telegram.token.get_secret_value() == "1:a"
    assert not load(there, None, FEISHU_APP_ID="x").channels.feishu.enabled
    feishu = load(there, None, FEISHU_APP_ID="x", FEISHU_APP_SECRET="y").channels.feishu
    assert feishu.enabled and feishu.app_id == "x" and feishu.app_secret
    off = load(there, "channels: {telegram: {enabled: false}}\n", TELEGRAM_BOT_TOKEN="1:a").channels.telegram
    assert off.enabled is False
    text = 'channels: {telegram: {token: "${TELEGRAM_BOT_TOKEN}", dm_policy: open}}\n'
    on = load(there, text, TELEGRAM_BOT_TOKEN="1:a").channels.telegram
    assert on.enabled and on.dm_policy == "open" and on.token and on.token.get_secret_value() == "1:a"
    assert not load(there, text).channels.telegram.enabled
    assert load(there, None, GATEWAY__CHANNELS__TELEGRAM__TOKEN="1:a").channels.telegram.enabled
    file_only = load(there, 'channels: {telegram: {token: "1:a"}}\n').channels.telegram
    assert not file_only.enabled, "the default is off; only the environment turns it on by itself"


@pytest.mark.attack(81)
def test_a_missing_reference_counts_only_where_its_section_is_enabled(there: Path):
    off = "channels: {telegram: {enabled: false, token: '${NONE}', max_media_bytes: '${NONE}'}}\n"
    assert load(there, off).channels.telegram.enabled is not True
    on = "channels:\n  telegram:\n    enabled: true\n    token: ${NONE}\n"
    assert "config.yaml:4:12 channels.telegram.token: the environment variable NONE is not set" in refused(there, on)
    assert load(there, "mcp_servers: [{name: x, url: '${NONE}', enabled: false}]\n").mcp_servers == ()
    assert load(there, "mcp_servers: {x: {url: '${NONE}', disabled: true}}\n").mcp_servers == ()
    assert "mcp_servers[0].url" in refused(there, "mcp_servers: [{name: x, url: '${NONE}'}]\n")
    assert "models[0].api_key" in refused(there, "models: [{name: x, model: y, api_key: '${NONE}'}]\n")
    assert "auth.tokens[0].token" in refused(there, "auth: {tokens: [{user: a, token: '${NONE}'}]}\n")


def test_secrets_beside_the_configuration(there: Path):
    (there / "secrets.yaml").write_text("KEY: sk-canary-canary\n")
    (there / "secrets.yaml").chmod(0o600)
    text = "auth: {tokens: [{user: a, token: '${secret:KEY}'}]}\n"
    assert load(there, text).auth.tokens[0].token.get_secret_value() == "sk-canary-canary"
    (there / "secrets.yaml").chmod(0o640)
    with pytest.raises(RefusedForSafety):
        load(there, text)
    assert stat.S_IMODE((there / "secrets.yaml").stat().st_mode) == 0o640


@pytest.mark.attack(84)
def test_secrets_never_show(there: Path):
    text = "auth: {tokens: [{user: a, token: sk-canary-canary}]}\nmodels: [{name: m, model: x, api_key: sk-canary}]\n"
    settings = load(there, text)
    assert "sk-canary" not in repr(settings) + str(settings) + settings.model_dump_json()
