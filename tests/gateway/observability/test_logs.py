"""One line a record, whatever is in it, and never a secret."""

import io
import json
import logging
import stat
import time

import pytest
from pydantic import SecretStr

from agent.settings import ModelSettings
from bus import context
from gateway.observability import logs
from gateway.observability.logs import Logs
from gateway.observability.redaction import Redactor, escape_controls, secrets_of
from gateway.settings import GatewaySettings

CANARY = "canary-c4n4ry-9"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def pipe():
    stream = io.StringIO()
    setup = Logs("debug", stream=stream, redactor=Redactor([CANARY]))
    yield stream
    setup.close()


def last(stream: io.StringIO) -> dict[str, object]:
    line = stream.getvalue().splitlines()[-1]
    return dict(json.loads(line))


def test_json_in_a_pipe_with_fields_and_ids(pipe: io.StringIO):
    token = context.trace_id.set("ab" * 16)
    key = context.session_key.set("agent:main:cli:direct:a")
    try:
        logging.getLogger("agent.loop").info("turn %s", "done", extra={"rounds": 3, "usage": {"tokens": 5}})
    finally:
        context.trace_id.reset(token)
        context.session_key.reset(key)
    line = last(pipe)
    assert line["event"] == "turn done" and line["level"] == "info" and line["logger"] == "agent.loop"
    assert line["trace_id"] == "ab" * 16 and line["session_key"] == "agent:main:cli:direct:a"
    assert line["rounds"] == 3 and str(line["timestamp"]).endswith("Z")


@pytest.mark.attack(15)
def test_what_could_forge_a_line_is_escaped(pipe: io.StringIO):
    nasty = "a\nINFO forged\r\x1b[31m\x00\u2028\u202e\x85\ud800 %s"
    logging.getLogger("x").warning("key %r %s", 1, nasty, extra={"name2": nasty})
    logging.getLogger("x").warning(nasty)
    assert len(pipe.getvalue().encode("utf-8", "surrogatepass").splitlines()) == 2
    assert not set(pipe.getvalue()) & set("\x1b\x00\r\x85\u2028\u202e\ud800")


def test_the_console_is_one_line_too_even_for_an_exception():
    stream = Terminal()
    setup = Logs("info", stream=stream)
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        logging.getLogger("x").exception("it failed\x1b[2J", extra={"code": 7})
    finally:
        setup.close()
    [line] = stream.getvalue().splitlines()
    assert "it failed\\x1b[2J code=7 [ValueError: broken\\nin two at test_logs.py" in line
    assert "\x1b[31merror" in line


@pytest.mark.attack(84)
@pytest.mark.parametrize(
    "text",
    [
        f"config has {CANARY}",
        f"GET https://api.telegram.org/bot123456:{CANARY}/getMe",
        "GET http://h/bot123456:AAHunknownunknownunknown/getMe",
        "Authorization: Bearer abcdefghij-unknown",
        '{"api_key": "sk-unknown-unknown"}',
        "password=unknown-unknown&x=1",
        "a client sent gw_1f0uv3f4vsiq.LaNSwpeyvi-unknown-unknown to us",
        "token 123456789:AAHunknownunknownunknownunknown0123",
        "GET https://mcp.example/mcp?lang=en&key=unknown-unknown",
        "connect redis://user:unknown-unknown@host",
        "open http://127.0.0.1:8080/#login=unknown-unknown",
    ],
)
def test_secrets_are_taken_out_of_texts(pipe: io.StringIO, text: str):
    logging.getLogger("httpx").debug("HTTP Request: %s", text)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logging.getLogger("x").exception("failed", extra={"detail": text, "deep": [{"inner": text}]})
    assert "unknown" not in pipe.getvalue() and "canary" not in pipe.getvalue()
    assert "***" in pipe.getvalue()


@pytest.mark.attack(84)
def test_a_field_whose_name_is_a_secret_is_masked_whole(pipe: io.StringIO):
    logging.getLogger("x").info("x", extra={"token": "abc", "headers": {"Cookie": "a=b", "api_key": 5}, "tokens": 7})
    line = last(pipe)
    assert line["token"] == "***" and line["headers"] == {"Cookie": "***", "api_key": 5} and line["tokens"] == 7


def test_ordinary_words_stay(pipe: io.StringIO):
    text = "12 tokens used; token expired; keys: a, b; secret is safe; http://127.0.0.1:8080/ws"
    logging.getLogger("x").info(text)
    assert last(pipe)["event"] == text


def test_all_secrets_of_the_settings_are_known():
    settings = GatewaySettings(models=[ModelSettings(name="a", model="b", api_key=SecretStr("sk-one"))])
    assert list(secrets_of(settings)) == ["sk-one"]


def test_a_wrong_format_string_loses_nothing():
    record = logging.LogRecord("x", logging.INFO, "f.py", 1, "%d of %s", ("one",), None)
    assert json.loads(logs.JsonFormatter(Redactor()).format(record))["event"] == "%d of %s"


def test_files_rotate_and_are_private(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 2_000)
    setup = Logs("info", folder=tmp_path / "logs", stream=io.StringIO())
    for number in range(200):
        logging.getLogger("x").info("line %d", number)
    setup.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["gateway.log", *(f"gateway.log.{n}" for n in range(1, 6))]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size <= 2_000 for file in files)
    assert all(json.loads(line) for file in files for line in file.read_text().splitlines())


def test_closing_puts_everything_back():
    before = list(logging.getLogger().handlers), logging.getLogger().level
    Logs("error", stream=io.StringIO()).close()
    assert (list(logging.getLogger().handlers), logging.getLogger().level) == before


def test_libraries_are_quiet_unless_debugging():
    stream = io.StringIO()
    setup = Logs("info", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: POST")
    logging.getLogger("gateway").info("ours")
    setup.close()
    assert "POST" not in stream.getvalue() and "ours" in stream.getvalue()


def test_escaping_is_readable():
    assert escape_controls("a\tb\nc\x1b中文😀") == "a\\tb\\nc\\x1b中文😀"


def test_a_long_line_is_no_reason_to_stop_the_house():
    line = "a-" * 10_000 + " my-api-key=0123456789abcdef"
    begun = time.thread_time()
    found = Redactor().text(line)
    assert time.thread_time() - begun < 0.5
    assert found.endswith("my-api-key=***")
