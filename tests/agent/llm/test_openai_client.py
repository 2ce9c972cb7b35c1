"""The client against a scripted server over real HTTP: everything a model endpoint does to us."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import trustme
from pydantic import SecretStr, ValidationError

from agent.llm.failures import kind_of_status
from agent.llm.openai_client import OpenAIModel
from agent.ports.models import ModelFailed, ModelReply, ModelRequest
from agent.settings import ModelSettings
from tests.fakes.openai_server import OpenAIServer

Make = Callable[..., OpenAIModel]


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def make(server: OpenAIServer) -> AsyncIterator[Make]:
    made: list[OpenAIModel] = []

    def build(**members: Any) -> OpenAIModel:
        given = {"name": "main", "base_url": server.url, "model": "scripted", "api_key": SecretStr("sk-secret-key"),
                 "first_token_seconds": 0.15, "stall_seconds": 0.15, "total_seconds": 5, **members}  # fmt: skip
        made.append(OpenAIModel(ModelSettings(**given)))
        return made[-1]

    yield build
    for model in made:
        await model.close()


def asking(said: str, **members: Any) -> ModelRequest:
    return ModelRequest(messages=[{"role": "user", "content": said}], **members)


async def ask(model: OpenAIModel, said: str, **members: Any) -> tuple[ModelReply, list[str]]:
    given_out: list[str] = []
    return await model.stream(asking(said, **members), given_out.append), given_out


async def fail(model: OpenAIModel, said: str, **members: Any) -> ModelFailed:
    given_out: list[str] = []
    with pytest.raises(ModelFailed) as caught:
        await model.stream(asking(said, **members), given_out.append)
    assert caught.value.partial == "".join(given_out)
    return caught.value


async def test_a_streamed_answer(server: OpenAIServer, make: Make) -> None:
    reply, given_out = await ask(make(), "hello there")
    assert reply.text == "You said: hello there"
    assert given_out == ["You", " said:", " hello", " there"]
    assert (reply.finish_reason, reply.model, reply.calls) == ("stop", "main", ())
    assert reply.usage.completion_tokens == 4
    assert reply.usage.cached_tokens == reply.usage.prompt_tokens // 2 > 0
    sent = server.requests[0]
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["messages"] == [{"role": "user", "content": "hello there"}]
    assert "tools" not in sent
    assert server.headers[0]["Authorization"] == "Bearer sk-secret-key"


async def test_no_key_for_a_server_of_ones_own(server: OpenAIServer, make: Make) -> None:
    await ask(make(api_key=None), "hello")
    assert "Authorization" not in server.headers[0]


async def test_no_key_for_the_official_address_asks_nobody() -> None:
    model = OpenAIModel(ModelSettings(name="main", model="gpt-5"))
    failed = await fail(model, "hello")
    assert (failed.kind, failed.retryable) == ("missing_key", False)
    assert "OPENAI_API_KEY" in failed.message
    assert "OPENAI_API_KEY" in (await fail(model, "你好", language="zh")).message


async def test_a_server_that_wants_a_key_where_none_is_set(make: Make) -> None:
    failed = await fail(make(api_key=None), "!status 401")
    assert failed.kind == "missing_key"
    assert "has no API key" in failed.message


async def test_certificates_are_checked_against_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with OpenAIServer(tls=context) as server:
        url = f"https://localhost:{server.port}/v1"
        stranger = OpenAIModel(ModelSettings(name="main", base_url=url, model="m", api_key=SecretStr("k")))
        assert (await fail(stranger, "hello")).kind == "connection"
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        known = OpenAIModel(ModelSettings(name="main", base_url=url, model="m", api_key=SecretStr("k")))
        assert (await ask(known, "hello"))[0].text == "You said: hello"
        await stranger.close()
        await known.close()


async def test_the_connection_is_used_again(server: OpenAIServer, make: Make) -> None:
    model = make()
    for _ in range(4):
        await ask(model, "hello")
    assert len(server.connections) == 1


async def test_tool_calls_in_fragments(make: Make) -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    for said in ('!tool clock {"zone": "Asia/Shanghai"}', '!tool-without-index clock {"zone": "Asia/Shanghai"}'):
        reply, _ = await ask(make(), said, tools=[tool])
        (call,) = reply.calls
        assert (call.name, call.arguments, reply.finish_reason) == ("clock", '{"zone": "Asia/Shanghai"}', "tool_calls")


async def test_parameters_and_the_name_of_the_limit(server: OpenAIServer, make: Make) -> None:
    await ask(
        make(max_output_tokens=100), "a", parameters={"temperature": 0.5, "max_tokens": 500, "tool_choice": "none"}
    )
    assert (server.requests[0]["temperature"], server.requests[0]["max_tokens"]) == (0.5, 100)
    assert "tool_choice" not in server.requests[0]


async def test_broken_arguments_in_the_history_do_not_spoil_the_conversation(server: OpenAIServer, make: Make) -> None:
    def calling(arguments: str) -> dict[str, Any]:
        function = {"name": "clock", "arguments": arguments}
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        }

    messages = [
        calling('{"zone": "UT'),
        calling('{"zone": "UTC"}'),
        calling(""),
        calling("[1]"),
        {"role": "user", "content": "x"},
    ]
    await make().stream(ModelRequest(messages=messages), lambda _: None)
    sent = [message["tool_calls"][0]["function"]["arguments"] for message in server.requests[0]["messages"][:4]]
    assert sent == ["{}", '{"zone": "UTC"}', "{}", "{}"]
    assert messages[0]["tool_calls"][0]["function"]["arguments"] == '{"zone": "UT'


async def test_names_and_ids_that_servers_refuse_do_not_spoil_the_conversation(
    server: OpenAIServer, make: Make
) -> None:
    long = "chatcmpl-tool-" + "a" * 32
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for call_id, name in ((long, "clock"), ("b", ""), ("c", "functions.read file"), ("d", "x" * 200))
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "."} for call in calls]
    messages = [{"role": "assistant", "content": None, "tool_calls": calls}, *results]
    await make().stream(ModelRequest(messages=[*messages, {"role": "user", "content": "x"}]), lambda _: None)
    sent = server.requests[0]["messages"]
    assert [call["function"]["name"] for call in sent[0]["tool_calls"]] == [
        "clock", "unknown", "functions_read_file", "x" * 64,
    ]  # fmt: skip
    ids = [call["id"] for call in sent[0]["tool_calls"]]
    assert len(ids[0]) <= 40 and ids[1:] == ["b", "c", "d"]
    assert [message["tool_call_id"] for message in sent[1:5]] == ids
    assert calls[0]["id"] == long


async def test_half_a_surrogate_pair_in_the_history_is_no_failure(make: Make) -> None:
    reply, _ = await ask(make(), "bad \ud800 half")
    assert reply.text == "You said: bad ? half"


@pytest.mark.quiet
@pytest.mark.attack(65)
@pytest.mark.parametrize("behaviour", ["silent", "deaf", "murmuring"])
async def test_silence(make: Make, behaviour: str) -> None:
    started = time.monotonic()
    failed = await fail(make(), f"!{behaviour}")
    assert (failed.code, failed.kind, failed.retryable) == (1004, "silent", True)
    assert time.monotonic() - started < 1


@pytest.mark.attack(65)
async def test_a_stall_keeps_what_was_said(make: Make) -> None:
    failed = await fail(make(), "!stalling")
    assert (failed.code, failed.kind, failed.partial) == (1004, "timeout", "It begins ")


@pytest.mark.attack(65)
async def test_a_trickle_ends_at_the_total_deadline(make: Make) -> None:
    failed = await fail(make(total_seconds=0.3), "!slow 50 1000")
    assert (failed.code, failed.kind) == (1004, "timeout")
    assert failed.partial.startswith("word0 word1 ")


@pytest.mark.attack(65)
async def test_slow_is_not_silent(make: Make) -> None:
    reply, _ = await ask(make(), "!slow 40 8")
    assert reply.text.split()[-1] == "word7"


@pytest.mark.attack(65)
async def test_endless_ends_with_length_and_leaves_the_server(server: OpenAIServer, make: Make) -> None:
    reply, _ = await ask(make(), "!endless")
    assert (reply.finish_reason, len(reply.text)) == ("length", 262_144)
    await _until(lambda: server.open == 0)
    assert server.lost == 1


@pytest.mark.attack(65)
@pytest.mark.parametrize(
    ("behaviour", "kind", "partial"),
    [
        ("cut", "truncated", "This will be cut"),
        ("truncated", "truncated", "This ends too"),
        ("cut-early", "connection", ""),
        ("garbage", "garbage", ""),
        ("html", "garbage", ""),
        ("error-midstream", "server", "Half "),
        ("error-first", "server", ""),
        ("status 500", "server", ""),
        ("status 503", "server", ""),
    ],
)
async def test_broken_servers(make: Make, behaviour: str, kind: str, partial: str) -> None:
    failed = await fail(make(), f"!{behaviour}")
    assert (failed.kind, failed.partial, failed.code, failed.retryable) == (kind, partial, 2003, True)


@pytest.mark.attack(65)
async def test_a_delta_of_ten_megabytes(make: Make) -> None:
    reply, given_out = await ask(make(first_token_seconds=5), "!huge-delta")
    assert (reply.finish_reason, len("".join(given_out))) == ("length", 262_144)


@pytest.mark.parametrize("behaviour", ["no-done", "no-usage", "garbage-between", "plain"])
async def test_careless_servers_are_understood(make: Make, behaviour: str) -> None:
    reply, _ = await ask(make(), f"!{behaviour}")
    assert reply.finish_reason == "stop"
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.completion_tokens > 0


@pytest.mark.quiet
async def test_a_server_that_does_not_hang_up_after_its_answer(server: OpenAIServer, make: Make) -> None:
    server.queue.append("lingering")
    started = time.monotonic()
    reply, _ = await ask(make(first_token_seconds=60, stall_seconds=0.1), "x")
    assert (reply.text, reply.finish_reason) == ("whole", "stop")
    assert time.monotonic() - started < 1


async def test_refused_keys_say_what_to_do_and_quote_nothing(make: Make) -> None:
    failed = await fail(make(), "!refused-key")
    assert (failed.kind, failed.retryable) == ("auth", False)
    assert "OPENAI_API_KEY" in failed.message
    assert "api_key" in failed.message
    assert "sk-" not in failed.message
    chinese = await fail(make(), "!status 403", language="zh")
    assert chinese.kind == "auth"
    assert "密钥" in chinese.message


async def test_rate_limits_tell_when(make: Make) -> None:
    failed = await fail(make(), "!rate-limited 7")
    assert (failed.kind, failed.code, failed.retry_after_ms, failed.retryable) == ("rate_limit", 1005, 7000, True)
    assert (await fail(make(), "!quota")).kind == "quota"
    assert kind_of_status(429, "", "Too many tokens, please wait before trying again.") == "rate_limit"  # Bedrock
    assert kind_of_status(400, "", "Too many tokens in the prompt") == "context_length"
    for odd, expected in (
        ("nan", None),
        ("inf", None),
        ("-5", 0),
        ("soon", None),
        ("9e9", 86_400_000),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 " + "9" * 400, None),
    ):
        assert (await fail(make(), f"!rate-limited {odd}")).retry_after_ms == expected
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert (await fail(make(), f"!rate-limited {date}")).retry_after_ms in range(25_000, 30_001)


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [("too-long", "context_length", 1006), ("status 404", "not_found", 2003), ("status 400", "request", 2003),
     ("status 301", "not_found", 2003), ("status 413", "context_length", 1006)],
)  # fmt: skip
async def test_requests_that_will_not_do(make: Make, behaviour: str, kind: str, code: int) -> None:
    failed = await fail(make(), f"!{behaviour}")
    assert (failed.kind, failed.code, failed.retryable) == (kind, code, False)


async def test_content_filter_is_a_reason(make: Make) -> None:
    reply, _ = await ask(make(), "!filtered")
    assert (reply.text, reply.finish_reason) == ("I was going to ", "content_filter")


@pytest.mark.parametrize("key", ["ключ", "sk\r\nX-Evil: 1", "sk\x00"])
async def test_keys_that_no_header_can_hold(server: OpenAIServer, make: Make, key: str) -> None:
    failed = await fail(make(api_key=SecretStr(key)), "hello")
    assert failed.kind == "auth"
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    ["localhost:1234/v1", "not a url", "http://[::1", "", "http://", "ftp://x/v1", "http://x:99999/v1", "http://a b/v1",
     "http://user:pw@x/v1", "http://x:0/v1", "http://x/\r\n"],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_with_the_configuration(url: str) -> None:
    with pytest.raises(ValidationError, match="such as http"):
        ModelSettings(name="main", model="m", base_url=url)


async def test_nobody_there() -> None:
    model = OpenAIModel(ModelSettings(name="main", base_url="http://127.0.0.1:9/v1", model="m", api_key=SecretStr("k")))
    failed = await fail(model, "hello")
    assert (failed.kind, failed.code, failed.retryable) == ("connection", 2003, True)
    assert "base_url" in failed.message
    await model.close()


@pytest.mark.quiet
@pytest.mark.attack(68)
async def test_cancelling_closes_the_connection_at_once(server: OpenAIServer, make: Make) -> None:
    for said in ("!slow 20 1000", "!silent", "!deaf"):
        given_out: list[str] = []
        model = make(first_token_seconds=30)
        task = asyncio.create_task(model.stream(asking(said), given_out.append))
        await _until(lambda: server.open == 1)
        if said == "!slow 20 1000":
            await _until(lambda: len(given_out) > 2)  # noqa: B023 - awaited within its round
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        started = time.monotonic()
        await _until(lambda: server.open == 0)
        assert time.monotonic() - started < 0.1
        assert (await ask(model, "still there?"))[0].text == "You said: still there?"


async def test_an_error_of_the_reader_is_not_hidden(server: OpenAIServer, make: Make) -> None:
    def explode(delta: str) -> None:
        raise RuntimeError("the reader is broken")

    with pytest.raises(RuntimeError, match="the reader is broken"):
        await make().stream(asking("hello"), explode)
    await _until(lambda: server.open == 0)


async def test_overhead_of_a_request_over_a_bare_client(server: OpenAIServer, make: Make) -> None:
    """Time to the first delta: the `openai` package and our reader over aiohttp alone. A ratio, generously bounded."""
    model = make()
    url, body = f"{server.url}/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True}

    async def ours() -> float:
        started, first = time.perf_counter(), []
        await model.stream(asking("hi"), lambda _: first.append(time.perf_counter()))
        return first[0] - started

    async with aiohttp.ClientSession() as session:

        async def bare() -> float:
            started = time.perf_counter()
            async with session.post(url, json=body) as response:
                await response.content.readany()
                first = time.perf_counter()
                await response.read()
                return first - started

        for _ in range(5):
            await ours(), await bare()
        with_us = sorted([await ours() for _ in range(40)])[20]
        without = sorted([await bare() for _ in range(40)])[20]
    assert with_us < without * 2 + 0.002


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_short_answer_that_comes_whole_is_sent_before_its_end_is_worked_off(make: Make) -> None:
    """Whoever reads `on_delta` sends in the next step of the event loop: he gets it before the caller goes on."""
    events = [{"choices": [{"index": 0, "delta": {"content": "Yes."}}]},
              {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]  # fmt: skip
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    sent: list[str] = []

    def send(text: str) -> None:
        asyncio.get_running_loop().call_soon(sent.append, text)

    async with await asyncio.start_server(at_once, "127.0.0.1", 0) as server:
        model = make(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        reply = await model.stream(asking("Well?"), send)
        assert sent == [reply.text] == ["Yes."]
        await model.close()
        await left.wait()
