"""The wizard in a pseudo-terminal, in both languages."""

import sys
from pathlib import Path

import pytest

from gateway.settings import load_settings
from tests.fakes.lying_endpoint import lying_endpoint
from tests.fakes.pseudo_terminal import PseudoTerminal

DOWN = "\x1b[B"
WORDS = {
    "en_US.UTF-8": ("Which model answers", "Its address", "API key", "2 models offered", "Model:", "chat platform"),
    "zh_CN.UTF-8": ("使用哪个模型", "接口地址", "API 密钥", "提供 2 个模型", "模型：", "连接聊天平台"),
}


@pytest.mark.parametrize("language", list(WORDS))
def test_from_nothing_to_a_model(home: Path, tmp_path: Path, language: str):
    which, address, key, offered, model, platform = WORDS[language]
    environ = {"LANG": language, "LC_ALL": language, "OLLAMA_HOST": "127.0.0.1:9", "PYTHONUTF8": "1"}
    with lying_endpoint() as endpoint:
        endpoint.answers["/v1/models"] = (200, {"data": [{"id": "alpha"}, {"id": "beta"}]})
        with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
            person.expect(which)
            person.send(DOWN + DOWN + "\r")
            person.expect(address)
            person.send("nonsense\r")
            person.send("\x15" + endpoint.url + "/v1\r")
            person.expect(key)
            person.send("sk-canary\r")
            person.expect(offered)
            person.expect(model)
            person.send(DOWN + "\r")
            person.expect(platform)
            person.send("\r")
            assert person.wait() == 0
        assert "sk-canary" not in person.raw
    [entry] = load_settings(home / "config.yaml", {}).settings.models
    assert entry.model == "beta" and entry.api_key and entry.api_key.get_secret_value() == "sk-canary"


def test_an_endpoint_that_refuses_can_be_chosen_anew(home: Path, tmp_path: Path):
    environ = {"LANG": "C.UTF-8", "OLLAMA_HOST": "127.0.0.1:9"}
    with lying_endpoint() as endpoint:
        endpoint.answers["/v1/models"] = (401, {})
        with PseudoTerminal(
            [sys.executable, "-m", "gateway", "init", "--base-url", endpoint.url + "/v1"], cwd=tmp_path, environ=environ
        ) as person:
            person.expect("API key")
            person.send("wrong\r")
            person.expect("refused")
            person.expect("Use it all the same")
            person.send("n")
            person.expect("Which model answers")
            person.send(DOWN * 3 + "\r")
            person.expect("chat platform")
            person.send("\r")
            assert person.wait() == 0
    assert load_settings(home / "config.yaml", {}).settings.models == []


def test_leaving_writes_nothing(home: Path, tmp_path: Path):
    environ = {"LANG": "C.UTF-8", "OLLAMA_HOST": "127.0.0.1:9"}
    with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
        person.expect("Which model answers")
        person.send("\x03")
        person.expect("nothing was written")
        assert person.wait() == 1
    assert not (home / "config.yaml").exists()


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leaving_is_told_in_the_persons_language(home: Path, tmp_path: Path, key: str):
    """The library's own English sentences ("Cancelled by user", "Use arrow keys") are not among ours."""
    environ = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "OLLAMA_HOST": "127.0.0.1:9", "PYTHONUTF8": "1"}
    with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
        person.expect("方向键选择")
        person.send(DOWN + "\r")
        person.expect("API 密钥")
        person.send(key)
        person.expect("没有写入任何文件")
        assert person.wait() == 1
    assert "Cancelled" not in person.raw and "Use arrow" not in person.raw and "Traceback" not in person.raw
    assert not (home / "config.yaml").exists()


def test_what_is_pasted_may_have_blanks_around_it(home: Path, tmp_path: Path):
    environ = {"LANG": "C.UTF-8", "OLLAMA_HOST": "127.0.0.1:9"}
    with lying_endpoint() as endpoint:
        endpoint.answers["/v1/models"] = (200, {"data": [{"id": "alpha"}]})
        with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
            person.expect("Which model answers")
            person.send(DOWN + DOWN + "\r")
            person.expect("Its address")
            person.send(f" {endpoint.url}/v1/ \r")
            person.expect("API key")
            person.send(" sk-canary \r")
            person.expect("Model:")
            person.send("\r")
            person.expect("chat platform")
            person.send("\r")
            assert person.wait() == 0
    [entry] = load_settings(home / "config.yaml", {}).settings.models
    assert entry.base_url == endpoint.url + "/v1"
    assert entry.api_key and entry.api_key.get_secret_value() == "sk-canary"


def test_a_bot_is_named_and_its_people_chosen(home: Path, tmp_path: Path):
    with lying_endpoint() as endpoint:
        endpoint.answers["/bot1:canary/getMe"] = (200, {"ok": True, "result": {"username": "my_bot"}})
        environ = {
            "LANG": "C.UTF-8", "OLLAMA_HOST": "127.0.0.1:9", "GATEWAY__CHANNELS__TELEGRAM__BASE_URL": endpoint.url
        }  # fmt: skip
        with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
            person.expect("Which model answers")
            person.send(DOWN * 3 + "\r")
            person.expect("chat platform")
            person.send(DOWN + "\r")
            person.expect("telegram token")
            person.send("1:wrong\r")
            person.expect("telegram refused")
            person.expect("Try again")
            person.send("y")
            person.expect("telegram token")
            person.send("1:canary\r")
            person.expect("@my_bot")
            person.expect("Who may speak")
            person.send(DOWN + "\r")
            person.expect("Ids")
            person.send("42, 43\r")
            person.expect("Another one")
            person.send("\r")
            assert person.wait() == 0
        assert "canary" not in person.raw
    telegram = load_settings(home / "config.yaml", {}).settings.channels.telegram
    assert telegram.enabled and telegram.dm_policy == "allowlist" and telegram.allow_from == ["42", "43"]


def test_a_wrong_token_of_the_environment_is_not_tried_for_ever(home: Path, tmp_path: Path):
    with lying_endpoint() as endpoint:
        endpoint.answers["/bot1:canary/getMe"] = (200, {"ok": True, "result": {"username": "my_bot"}})
        environ = {
            "LANG": "C.UTF-8", "OLLAMA_HOST": "127.0.0.1:9", "GATEWAY__CHANNELS__TELEGRAM__BASE_URL": endpoint.url,
            "TELEGRAM_BOT_TOKEN": "1:wrong",
        }  # fmt: skip
        with PseudoTerminal([sys.executable, "-m", "gateway", "init"], cwd=tmp_path, environ=environ) as person:
            person.expect("Which model answers")
            person.send(DOWN * 3 + "\r")
            person.expect("chat platform")
            person.send(DOWN + "\r")
            for token in ("", "1:canary"):  # empty is the same once more
                person.expect("telegram refused")
                person.expect("Try again")
                person.send("y")
                person.expect("telegram token")
                person.send(token + "\r")
            person.expect("@my_bot")
            person.expect("Who may speak")
            person.send("\r")
            person.expect("Another one")
            person.send("\r")
            assert person.wait() == 0
    assert "1:canary" in (home / "secrets.yaml").read_text()
