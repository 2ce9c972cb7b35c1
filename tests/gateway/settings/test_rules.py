"""What may not be combined, what isn't in this version, what is refused for safety."""

from pathlib import Path

import pytest

from bridge.configuration import ConfigurationError, RefusedForSafety
from gateway.settings import load_settings


def attempt(tmp_path: Path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_settings(path, {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bus:\n  backend: nats\n", "config.yaml:2:12 bus.backend: not in this version"),
        ("sessions: {backend: redis}\n", "sessions.backend: not in this version"),
        ("auth: {jwt: {issuer: x}}\n", "auth.jwt.issuer: not in this version"),
        ("auth: {jwt: {jwks_url: x}}\n", "auth.jwt.jwks_url: not in this version"),
        ("server: {tls: {client_ca: x}}\n", "server.tls.client_ca: not in this version"),
        ("server: {tls: {cert: x}}\n", "server.tls: needs both cert and key"),
        ("server: {tls: {cert: /none, key: /none}}\n", "server.tls.cert: no such file"),
        ("server: {tls_terminated_by_proxy: true}\n", "needs server.trusted_proxies"),
        ("models: [{name: a, model: x}, {name: a, model: y}]\n", "models[1].name: a name that another model has"),
        ("auth: {tokens: [{user: a, token: ' '}]}\n", "auth.tokens[0].token: must be printable"),
        ("auth: {tokens: [{user: a, token: xyz}, {user: b, token: xyz}]}\n", "auth.tokens[1].token: the same token"),
        ("bindings: [{agent: none}]\n", "bindings[0].agent: there is no such agent"),
        ("agents: {a: {models: [none]}}\n", "agents.a.models[0]: there is no such entry"),
        ("channels: {telegramm: {enabled: true}}\n", "channels.telegramm: unknown key (did you mean 'telegram'?)"),
        ("channels: {telegram: {enabled: true}}\n", "channels.telegram.token: missing"),
        ("channels: {telegram: {enabled: true, token: x, mode: webhook, webhook_url: 'https://x'}}\n",
         "channels.telegram.webhook_secret: missing"),
        ("channels: {telegram: {enabled: true, token: x, mode: webhook, webhook_secret: x}}\n",
         "channels.telegram.webhook_url: missing"),
        ("channels: {discord: {enabled: true}}\n", "channels.discord.token: missing"),
        ("channels: {feishu: {enabled: true, app_id: x}}\n", "channels.feishu.app_secret: missing"),
        ("channels: {feishu: {enabled: true, app_id: x, app_secret: x, mode: webhook, encrypt_key: x}}\n",
         "channels.feishu.verification_token: missing"),
        ("channels: {feishu: {enabled: true, app_id: x, app_secret: x, mode: webhook, verification_token: x}}\n",
         "channels.feishu.encrypt_key: missing"),
    ],
)  # fmt: skip
def test_exit_two(tmp_path: Path, text: str, line: str):
    with pytest.raises(ConfigurationError) as caught:
        attempt(tmp_path, text)
    assert caught.value.exit_code == 2
    assert line in str(caught.value)


@pytest.mark.attack(14)
@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.168.1.5", "gateway.example"])
def test_a_public_address_without_tls_is_refused_and_names_the_setting(tmp_path: Path, host: str):
    with pytest.raises(RefusedForSafety) as caught:
        attempt(tmp_path, f"server:\n  host: {host}\n")
    assert caught.value.exit_code == 3
    assert "config.yaml:2:9 server.host" in str(caught.value)
    assert "server.tls.cert" in str(caught.value)


@pytest.mark.attack(14)
def test_a_public_address_with_a_token_that_can_be_guessed_is_refused(tmp_path: Path):
    proxy = "server: {host: 0.0.0.0, tls_terminated_by_proxy: true, trusted_proxies: [127.0.0.1]}\n"
    with pytest.raises(RefusedForSafety, match=r"auth\.tokens\[0\]\.token: too short"):
        attempt(tmp_path, proxy + "auth: {tokens: [{user: a, token: abc}]}\n")
    assert attempt(tmp_path, proxy).settings.server.host == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "'::1'", "localhost", "127.8.9.1"])
def test_loopback_needs_nothing(tmp_path: Path, host: str):
    attempt(tmp_path, f"server: {{host: {host}}}\n")


def test_tls_opens_a_public_address(tmp_path: Path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    tls = f"tls: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}"
    assert attempt(tmp_path, f"server: {{host: 0.0.0.0, {tls}}}\n").settings.server.tls.cert


def test_certificates_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    tls = attempt(tmp_path, "server: {tls: {cert: ~/cert.pem, key: ~/key.pem}}\n").settings.server.tls
    assert (tls.cert, tls.key) == (tmp_path / "cert.pem", tmp_path / "key.pem")  # as whoever reads them opens them


def test_warnings_are_for_people(tmp_path: Path):
    loaded = attempt(
        tmp_path,
        "auth: {tokens: [{user: a, token: short}]}\nchannels: {telegram: {enabled: true, token: x, dm_policy: open}}\n",
    )
    assert any("short" in line for line in loaded.warnings)
    assert any("telegram is open" in line for line in loaded.warnings)
