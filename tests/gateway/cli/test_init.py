"""From nothing to a configuration, never over anything, and with secrets apart."""

import json
import stat
from pathlib import Path

import pytest

from gateway.cli.providers import Endpoint
from gateway.cli.written import Answers, render
from gateway.settings import load_settings
from tests.fakes.lying_endpoint import LyingEndpoint, lying_endpoint
from tests.gateway.cli.conftest import Run


@pytest.fixture
def endpoint():
    with lying_endpoint() as found:
        found.answers["/v1/models"] = (200, {"data": [{"id": "text-embed"}, {"id": "qwen3:8b"}, {"id": "zeta"}]})
        yield found


def test_without_anything_it_writes_the_demo(gateway: Run, home: Path):
    done = gateway("init", "--yes", "--no-test")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout and "gateway run" in done.stdout
    assert load_settings(home / "config.yaml", {}).settings.models == []
    assert stat.S_IMODE((home / "config.yaml").stat().st_mode) == 0o600


def test_an_endpoint_is_tested_and_a_model_chosen(gateway: Run, home: Path, endpoint: LyingEndpoint):
    done = gateway("init", "--yes", "--json", "--base-url", endpoint.url + "/v1", OPENAI_API_KEY="sk-canary")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "qwen3:8b"
    assert endpoint.seen == [("/v1/models", "Bearer sk-canary")]
    text = (home / "config.yaml").read_text()
    assert "sk-canary" not in text and "${secret:MODEL_API_KEY}" in text
    secrets = home / "secrets.yaml"
    assert "sk-canary" in secrets.read_text() and stat.S_IMODE(secrets.stat().st_mode) == 0o600
    [model] = load_settings(home / "config.yaml", {}).settings.models
    assert model.api_key and model.api_key.get_secret_value() == "sk-canary" and model.model == "qwen3:8b"


def test_it_never_overwrites(gateway: Run, home: Path):
    assert gateway("init", "--yes", "--no-test").returncode == 0
    before = (home / "config.yaml").read_bytes()
    done = gateway("init", "--yes", "--no-test", OPENAI_API_KEY="sk-x")
    assert done.returncode == 1 and "not touched" in done.stderr
    assert (home / "config.yaml").read_bytes() == before and not (home / "secrets.yaml").exists()
    (home / "config.yaml").unlink()
    (home / "secrets.yaml").write_text("MINE: 1\n")
    done = gateway("init", "--yes", "--no-test", OPENAI_API_KEY="sk-x")
    assert done.returncode == 1 and not (home / "config.yaml").exists()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(401, {}, "refused"), (200, "<html>", "something else than JSON"), (500, {}, "HTTP 500"), (200, {}, "no list")],
)
def test_an_endpoint_that_does_not_work_writes_nothing(gateway: Run, home: Path, status: int, body: object, said: str):
    with lying_endpoint() as endpoint:
        endpoint.answers["/v1/models"] = (status, body)
        done = gateway("init", "--yes", "--base-url", endpoint.url + "/v1", OPENAI_API_KEY="sk-canary")
    assert done.returncode == 1 and said in done.stderr and "sk-canary" not in done.stderr
    assert not (home / "config.yaml").exists()


def test_a_model_that_is_not_offered(gateway: Run, endpoint: LyingEndpoint):
    done = gateway("init", "--yes", "--base-url", endpoint.url + "/v1", "--model", "none")
    assert done.returncode == 1 and "qwen3:8b" in done.stderr


def test_channels_come_from_the_environment(gateway: Run, home: Path):
    done = gateway("init", "--yes", "--no-test", TELEGRAM_BOT_TOKEN="1:canary", FEISHU_APP_ID="f")
    assert done.returncode == 0, done.stderr
    settings = load_settings(home / "config.yaml", {}).settings
    assert settings.channels.telegram.enabled and settings.channels.telegram.dm_policy == "pairing"
    assert not settings.channels.feishu.enabled and "canary" not in (home / "config.yaml").read_text()


def test_without_a_terminal_it_asks_for_yes(gateway: Run):
    done = gateway("init")
    assert done.returncode == 2 and "--yes" in done.stderr


def test_what_is_written_loads_whatever_the_values_are(tmp_path: Path):
    answers = Answers(
        base_url="http://x/#\"'", model="a: b # c\n", has_key=True, secrets={"MODEL_API_KEY": "x: 'y' \\"}
    )
    answers.channels["discord"] = {"dm_policy": "allowlist", "allow_from": ["1", '"2"']}
    answers.secrets["DISCORD_BOT_TOKEN"] = "t"
    from gateway.cli.written import write

    write(tmp_path / "config.yaml", answers)
    settings = load_settings(tmp_path / "config.yaml", {}).settings
    assert settings.models[0].model == "a: b # c\n" and settings.channels.discord.allow_from == ["1", '"2"']
    assert settings.models[0].api_key and settings.models[0].api_key.get_secret_value() == "x: 'y' \\"
    assert render(Answers()).count("#") > 5


def test_a_model_for_somebody_who_named_none():
    endpoint = Endpoint("x", "http://x")
    assert endpoint.choose(["a-embed", "whisper-1", "beta"]) == "beta"
    assert endpoint.choose(["zzz", "llama3:70b"]) == "llama3:70b"
    assert endpoint.choose([]) == ""
    assert Endpoint("OpenAI", "https://api.openai.com/v1").choose([]) == "gpt-5"


@pytest.mark.parametrize(
    ("environ", "key"),
    [({"OLLAMA_HOST": "{host}"}, ""),
     ({"LITELLM_BASE_URL": "{url}", "LITELLM_MASTER_KEY": "sk-canary"}, "sk-canary"),
     ({"DEEPSEEK_BASE_URL": "{url}/v1", "DEEPSEEK_API_KEY": "sk-canary"}, "sk-canary"),
     ({"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "sk-canary"}, "sk-canary")],
    ids=["ollama", "litellm", "deepseek", "openai"],
)  # fmt: skip
def test_endpoints_that_people_have_are_recognised(
    gateway: Run, home: Path, endpoint: LyingEndpoint, environ: dict[str, str], key: str
):
    host = endpoint.url.removeprefix("http://")
    given = {"OLLAMA_HOST": "127.0.0.1:9"} | {
        name: text.format(url=endpoint.url, host=host) for name, text in environ.items()
    }
    done = gateway("init", "--yes", **given)
    assert done.returncode == 0, done.stderr
    [model] = load_settings(home / "config.yaml", {}).settings.models
    assert (model.base_url, model.model) == (endpoint.url + "/v1", "qwen3:8b")
    assert (model.api_key.get_secret_value() if model.api_key else "") == key
    assert ("/v1/models", f"Bearer {key}" if key else "") in endpoint.seen
    assert "canary" not in (home / "config.yaml").read_text() + done.stdout + done.stderr


def test_a_channels_token_is_tested_and_the_bots_name_shown(gateway: Run, home: Path, endpoint: LyingEndpoint):
    endpoint.answers["/bot1:canary/getMe"] = (200, {"ok": True, "result": {"username": "my_bot"}})
    given = {"TELEGRAM_BOT_TOKEN": "1:canary", "GATEWAY__CHANNELS__TELEGRAM__BASE_URL": endpoint.url}
    done = gateway("init", "--yes", OLLAMA_HOST="127.0.0.1:9", **given)
    assert done.returncode == 0 and "telegram: @my_bot" in done.stderr, done.stderr
    assert stat.S_IMODE((home / "secrets.yaml").stat().st_mode) == 0o600


def test_a_token_that_is_refused_writes_nothing(gateway: Run, home: Path, endpoint: LyingEndpoint):
    given = {"DISCORD_BOT_TOKEN": "canary", "GATEWAY__CHANNELS__DISCORD__API_URL": endpoint.url}
    done = gateway("init", "--yes", OLLAMA_HOST="127.0.0.1:9", **given)
    assert done.returncode == 1 and "discord refused" in done.stderr and "canary" not in done.stderr
    assert not home.exists() or not list(home.iterdir())


def test_an_address_that_is_none_is_refused_and_leaves_nothing(gateway: Run, home: Path):
    for options, environ, code in (
        (["--base-url", "nonsense"], {}, 2),
        (["--base-url", "nonsense", "--no-test", "--model", "x"], {}, 2),
        ([], {"OPENAI_BASE_URL": "nonsense"}, 1),
        (["--no-test", "--model", "x"], {"OPENAI_BASE_URL": "nonsense", "OPENAI_API_KEY": "sk-canary"}, 2),
    ):
        done = gateway("init", "--yes", *options, **environ)
        assert done.returncode == code and "ValueError" not in done.stderr
        assert not (home / "config.yaml").exists() and not (home / "secrets.yaml").exists(), options
    assert gateway("init", "--yes", "--no-test").returncode == 0
