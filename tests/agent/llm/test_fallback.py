"""Several models as one, over scripted servers: order, failover, second chances, breakers, fair shares."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from agent.llm.breaker import Breaker
from agent.llm.candidates import Known, order
from agent.llm.demo import DemoModel
from agent.llm.fair import FairShare
from agent.llm.fallback import ModelPool
from agent.llm.stream import ReplyStream
from agent.ports.models import ModelFailed, ModelReply, ModelRequest
from agent.settings import ModelSettings
from tests.fakes.openai_server import OpenAIServer

Build = Callable[..., ModelPool]


def entry(name: str, url: str = "http://127.0.0.1:9/v1", **members: Any) -> ModelSettings:
    given = {"name": name, "base_url": url, "model": name, "api_key": SecretStr("k"), "first_token_seconds": 0.2,
             "stall_seconds": 0.2, **members}  # fmt: skip
    return ModelSettings(**given)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def build(server: OpenAIServer) -> AsyncIterator[Build]:
    made: list[ModelPool] = []

    def pool(*entries: ModelSettings) -> ModelPool:
        made.append(ModelPool(entries, DemoModel(0)))
        return made[-1]

    yield pool
    for model in made:
        await model.close()


async def ask(pool: ModelPool, said: str, **members: Any) -> tuple[ModelReply, list[str]]:
    given_out: list[str] = []
    request = ModelRequest(messages=[{"role": "user", "content": said}], **members)
    return await pool.stream(request, given_out.append), given_out


async def fail(pool: ModelPool, said: str, **members: Any) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await ask(pool, said, **members)
    return caught.value


def asked(server: OpenAIServer) -> list[str]:
    return [request["model"] for request in server.requests]


async def test_without_models_the_demo_answers(build: Build) -> None:
    pool = build()
    await pool.warm()
    assert "demo model" in (await ask(pool, "who are you"))[0].text
    assert [entry["name"] for entry in pool.describe()] == ["demo"]


async def test_the_next_model_answers_when_the_first_is_not_there(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("gone"), entry("second", server.url))
    reply, given_out = await ask(pool, "hello")
    assert (reply.text, reply.model) == ("You said: hello", "second")
    assert "".join(given_out) == reply.text
    assert pool.failovers == 1


@pytest.mark.parametrize("model", ["status:500", "refused-key", "html", "silent", "quota", "status:404", "error-first"])
async def test_what_makes_the_next_model_answer(server: OpenAIServer, build: Build, model: str) -> None:
    pool = build(entry("first", server.url, model=model), entry("second", server.url))
    assert (await ask(pool, "hello"))[0].model == "second"
    assert asked(server) == [model, "second"]


async def test_the_next_key_is_used_where_the_first_is_refused(server: OpenAIServer, build: Build) -> None:
    keys = (SecretStr("second-key"), SecretStr("third-key"))
    pool = build(entry("main", server.url, api_key=SecretStr("first-key"), api_keys=keys))
    server.queue += ["refused-key", "quota"]
    assert (await ask(pool, "hello"))[0].model == "main"
    assert [headers["Authorization"] for headers in server.headers] == [
        "Bearer first-key", "Bearer second-key", "Bearer third-key",
    ]  # fmt: skip
    assert "-key" not in repr(pool.describe())


async def test_the_context_of_another_model_may_be_long_enough(server: OpenAIServer, build: Build) -> None:
    small, same, large = (
        entry("small", server.url, model="too-long", context_tokens=8_000),
        entry("same", server.url, context_tokens=8_000),
        entry("large", server.url, context_tokens=100_000),
    )
    assert (await ask(build(small, same, large), "hello"))[0].model == "large"
    assert asked(server) == ["too-long", "large"]
    failed = await fail(build(small, same), "hello")
    assert (failed.kind, failed.code) == ("context_length", 1006)


@pytest.mark.attack(65)
async def test_nothing_is_repeated_once_a_word_was_streamed(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("first", server.url, model="cut"), entry("second", server.url))
    failed = await fail(pool, "hello")
    assert (failed.partial, failed.kind) == ("This will be cut", "truncated")
    assert asked(server) == ["cut"]


@pytest.mark.attack(65)
async def test_one_second_chance_and_no_more(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("only", server.url))
    server.queue += ["status 500", "say better now"]
    assert (await ask(pool, "hello"))[0].text == "better now"
    assert pool.retries == 1
    server.requests.clear()
    server.queue += ["status 500", "status 502", "say too late"]
    assert (await fail(pool, "hello")).kind == "server"
    assert len(server.requests) == 2


@pytest.mark.attack(65)
async def test_the_second_chance_may_end_in_mid_answer(server: OpenAIServer, build: Build) -> None:
    server.queue += ["cut-early", "cut"]
    assert (await fail(build(entry("only", server.url)), "x")).partial == "This will be cut"


@pytest.mark.quiet
@pytest.mark.attack(65)
async def test_retry_after_is_obeyed(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("only", server.url))
    server.queue += ["rate-limited 0.3", "say thank you"]
    started = time.monotonic()
    assert (await ask(pool, "hello"))[0].text == "thank you"
    assert 0.3 <= time.monotonic() - started < 1
    server.queue += ["rate-limited 60"]
    failed = await fail(pool, "hello")
    assert (failed.code, failed.retry_after_ms, failed.retryable) == (1005, 60_000, True)


async def test_a_model_that_wants_rest_gets_it(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("first", server.url), entry("second", server.url))
    server.queue += ["rate-limited 60"]
    for _ in range(3):
        assert (await ask(pool, "hello"))[0].model == "second"
    assert asked(server) == ["first", "second", "second", "second"]
    assert [told["state"] for told in pool.describe()] == ["resting", "ready"]


async def test_a_breaker_opens_after_failures_in_a_row(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("first", server.url, model="status:500"), entry("second", server.url))
    for _ in range(7):
        await ask(pool, "hello")
    assert asked(server).count("status:500") == 5
    assert pool.describe()[0]["state"] == "open"
    assert pool.describe()[0]["failures"] == {"server": 5}


async def test_an_open_breaker_never_silences_the_only_model(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("only", server.url))
    server.queue += ["refused-key"] * 7
    for _ in range(7):
        await fail(pool, "hello")
    assert (await ask(pool, "hello"))[0].text == "You said: hello"
    assert pool.describe()[0]["state"] == "ready"


async def test_breaker_lets_one_try_after_its_time() -> None:
    breaker = Breaker("m", failures=2, seconds=0.1)
    for _ in range(2):
        await breaker.failed(RuntimeError())
    assert (breaker.open, breaker.state) == (True, "opened")
    await asyncio.sleep(0.11)
    assert (breaker.open, breaker.state) == (False, "half-opened")
    await breaker.failed(RuntimeError())
    assert breaker.open
    await asyncio.sleep(0.11)
    breaker.succeeded()
    await breaker.failed(RuntimeError())
    assert (breaker.open, breaker.state) == (False, "closed")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_makes_no_rest_longer_or_shorter(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    breaker, now = Breaker("m", failures=1, seconds=0.3), time.time
    for _ in range(2):
        await breaker.failed(RuntimeError())
        monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
        assert breaker.open
        await asyncio.sleep(0.31)
        assert (breaker.open, breaker.state) == (False, "half-opened")


async def test_all_gone_is_said_with_what_to_do(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("main", server.url, model="refused-key"), entry("gone"))
    failed = await fail(pool, "hello")
    assert failed.kind == "auth"
    assert "“main” refused the API key" in failed.message
    assert "“gone” cannot be reached" in failed.message
    chinese = await fail(pool, "你好", language="zh")
    assert "模型“main”拒绝了 API 密钥" in chinese.message
    assert "无法连接模型“gone”" in chinese.message


async def test_what_no_model_can_is_said(build: Build) -> None:
    failed = await fail(build(entry("blind")), "look", needs=frozenset({"vision"}))
    assert failed.kind == "incapable"
    assert "vision" in failed.message


def places(request: ModelRequest, *known: Known | ModelSettings) -> list[str]:
    entries = [each if isinstance(each, Known) else Known(each) for each in known]
    return [entries[place].settings.name for place in order(entries, request)]


def test_the_order() -> None:
    cheap, middle, best = entry("cheap", tier=0), entry("middle", tier=1), entry("best", tier=2, vision=True)
    request = ModelRequest(messages=[])
    assert places(request, best, cheap, middle) == ["best", "cheap", "middle"]
    assert places(ModelRequest(messages=[], tier=0), best, cheap, middle) == ["cheap", "middle", "best"]
    assert places(ModelRequest(messages=[], tier=1), best, cheap, middle) == ["middle", "best", "cheap"]
    assert places(ModelRequest(messages=[], tier=2), cheap, middle) == ["middle", "cheap"]
    assert places(ModelRequest(messages=[], model="middle"), best, cheap, middle) == ["middle", "best", "cheap"]
    assert places(ModelRequest(messages=[], model="unknown"), best, cheap) == ["best", "cheap"]
    assert places(ModelRequest(messages=[], needs=frozenset({"vision"})), cheap, best) == ["best"]
    mute = entry("mute", tools=False)
    assert places(ModelRequest(messages=[], needs=frozenset({"tools"})), mute, cheap) == ["cheap"]
    assert places(ModelRequest(messages=[], needs=frozenset({"tools"})), mute) == ["mute"]
    assert places(ModelRequest(messages=[], among=("best", "middle"), tier=0), cheap, middle, best) == [
        "middle",
        "best",
    ]
    assert places(request, Known(cheap, resting=True), middle) == ["middle", "cheap"]
    long = ModelRequest(messages=[{"role": "user", "content": "word " * 10_000}], tier=0)
    assert places(long, entry("short", tier=0, context_tokens=8_000), middle) == ["middle", "short"]


async def test_people_take_turns() -> None:
    share = FairShare(2)
    order_of_service: list[str] = []
    release = asyncio.Event()

    async def round_of(user: str) -> None:
        async with share.slot(user):
            order_of_service.append(user)
            if not release.is_set():
                await release.wait()

    tasks = []
    for user in ["greedy"] * 6 + ["modest", "shy", "modest"]:
        tasks.append(asyncio.create_task(round_of(user)))
        await asyncio.sleep(0)
    assert (share.running, share.waiting) == (2, 7)
    release.set()
    await asyncio.gather(*tasks)
    assert order_of_service == ["greedy", "greedy", "greedy", "modest", "shy", "greedy", "modest", "greedy", "greedy"]
    assert (share.running, share.waiting) == (0, 0)


async def test_leaving_the_queue_and_leaving_with_the_place() -> None:
    share = FairShare(1)
    async with asyncio.timeout(2):
        hold = share.slot("a")
        await hold.__aenter__()

        async def wait(user: str) -> None:
            async with share.slot(user):
                pass

        first, second, third = (asyncio.create_task(wait(user)) for user in ("b", "c", "b"))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0.01)
        assert share.waiting == 2
        await hold.__aexit__(None, None, None)
        first.cancel()  # it has the place, but does not know it yet
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert first.cancelled()
        assert third.done()
        assert not third.cancelled()
        assert (share.running, share.waiting) == (0, 0)


async def test_rounds_at_once_are_bounded(server: OpenAIServer, build: Build) -> None:
    pool = build(entry("only", server.url, max_concurrent=2))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, server.open)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(ask(pool, "!slow 5 5", user=f"u{n}") for n in range(6)))
    watching.cancel()
    assert most == 2


@pytest.mark.attack(65)
@pytest.mark.parametrize(
    "said", ["endless-line", "garbage", "truncated", "cut", "cut-early", "status 500", "refused-key", "silent"]
)
@pytest.mark.parametrize("names", [["one"], ["one", "two"]], ids=len)
async def test_what_a_failed_answer_had_sent_is_let_go_at_once(
    server: OpenAIServer, build: Build, said: str, names: list[str]
) -> None:
    pool = build(*(entry(name, server.url) for name in names))
    server.script = [{"match": "", "do": said}]
    await pool.warm()
    gc.collect()
    gc.disable()  # in a long-lived process it comes by every few hours
    try:
        try:
            await ask(pool, "hello")
        except ModelFailed:
            pass
        else:
            pytest.fail("it did not fail")
        assert [each for each in gc.get_objects() if isinstance(each, ReplyStream | ModelRequest)] == []
    finally:
        gc.enable()
