"""The OpenAI-compatible routes through the real client: streaming or not, tools of both sides, lost clients."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from gateway.identity.media import PASSING_SECONDS, MediaFolder
from tests.fakes.openai_server import OpenAIServer
from tests.gateway.edge.harness import TOKENS, Running, bearer, running

Messages = list[dict[str, Any]]


def client(gateway: Running, who: str = "alice") -> AsyncOpenAI:
    return AsyncOpenAI(api_key=TOKENS.get(who, who), base_url=gateway.url + "/v1", max_retries=0)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_whole_and_streamed(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, client(gateway) as ai:
        assert [m.id async for m in await ai.models.list()] == ["demo"]
        assert (await ai.models.retrieve("demo")).id == "demo"
        with pytest.raises(openai.NotFoundError):
            await ai.models.retrieve("none")
        whole = await ai.chat.completions.create(model="demo", messages=[user("count to 5")])
        choice = whole.choices[0]
        assert (choice.message.role, choice.finish_reason, whole.object) == ("assistant", "stop", "chat.completion")
        assert "5" in (choice.message.content or "")
        assert whole.usage is not None and whole.usage.total_tokens > 0
        stream = await ai.chat.completions.create(
            model="any-name",
            messages=[user("count to 5")],
            stream=True,
            stream_options={"include_usage": True},
        )
        text, usage, ends, roles = "", [], [], []
        async for chunk in stream:
            usage += [chunk.usage] if chunk.usage else []
            for part in chunk.choices:
                text += part.delta.content or ""
                ends += [part.finish_reason] if part.finish_reason else []
                roles += [part.delta.role] if part.delta.role else []
        assert (text, ends, roles) == (choice.message.content, ["stop"], ["assistant"])
        assert len(usage) == 1 and usage[0].total_tokens > 0
        listed = (await gateway.rpc("session.list", "alice"))["result"]["sessions"]
        assert listed == []
        bodies = [str(p.read_bytes()) for p in (tmp_path / "sessions").rglob("*.jsonl")]
        assert any("count to 5" in b for b in bodies)


async def test_the_clients_messages_are_the_history(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "up", "vision": True}
        async with running(tmp_path, models=[entry]) as gateway, client(gateway) as ai:
            picture = "data:image/png;base64,aGVsbG8="
            messages: Messages = [
                {"role": "system", "content": "be brief"}, user("first"), {"role": "assistant", "content": "one"},
                {"role": "user", "content": [
                    {"type": "text", "text": "second"}, {"type": "image_url", "image_url": {"url": picture}}
                ]},
            ]  # fmt: skip
            answer = await ai.chat.completions.create(
                model="m",
                messages=messages,
                temperature=0.5,
                max_completion_tokens=77,
                seed=4,
            )
            assert answer.choices[0].message.content
            asked = model.requests[-1]
            shown = [(m["role"], m["content"]) for m in asked["messages"]]
            assert shown[1:4] == [("system", "be brief"), ("user", "first"), ("assistant", "one")]
            assert shown[0][0] == "system" and "second" in json.dumps(shown[4])
            assert picture in json.dumps(shown[4])
            assert (asked["temperature"], asked["seed"]) == (0.5, 4)
            assert 77 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))
            nothing: Any = None
            await ai.chat.completions.create(
                model="m", messages=[user("third")], max_tokens=66, max_completion_tokens=nothing
            )
            asked = model.requests[-1]
            assert 66 in (asked.get("max_tokens"), asked.get("max_completion_tokens")), (
                "null is as if it were not there"
            )


async def test_tools_that_the_client_brings_are_handed_back(tmp_path: Path) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with OpenAIServer() as model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "up"}
        async with running(tmp_path, models=[entry]) as gateway, client(gateway) as ai:
            messages: Any = [user('!tool weather {"city": "Rome"}')]
            whole = await ai.chat.completions.create(model="m", messages=messages, tools=tools)
            call: Any = (whole.choices[0].message.tool_calls or [])[0]
            assert whole.choices[0].finish_reason == "tool_calls"
            assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
            async with ai.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
                async for _ in stream:
                    pass
                streamed = (await stream.get_final_completion()).choices[0]
            assert streamed.finish_reason == "tool_calls"
            assert (streamed.message.tool_calls or [])[0].function.name == "weather"
            messages += [
                whole.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
            ]
            final = await ai.chat.completions.create(model="m", messages=messages, tools=tools)
            assert "sunny" in (final.choices[0].message.content or "")
            roles = [m["role"] for m in model.requests[-1]["messages"]]
            assert roles[-3:] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "odd",
    [
        {"role": "assistant", "content": None, "tool_calls": "look"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "x", "arguments": {}}}]},
        {"role": "tool", "content": "x", "tool_call_id": 7},
        {"role": "tool", "content": "x"},
    ],
)
async def test_calls_that_are_none_are_refused_before_a_turn_begins(tmp_path: Path, odd: Any) -> None:
    async with OpenAIServer() as model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "up"}
        async with running(tmp_path, models=[entry]) as gateway, client(gateway) as ai:
            with pytest.raises(openai.BadRequestError, match=r"messages\.1"):
                await ai.chat.completions.create(model="m", messages=[user("a"), odd, user("b")])
            assert not model.requests


async def test_tools_of_the_gateway_are_run_by_the_gateway(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "up"}
        async with running(tmp_path, models=[entry]) as gateway, client(gateway) as ai:
            whole = await ai.chat.completions.create(
                model="m",
                messages=[user('!tool calculator {"expression": "6*7"}')],
            )
            assert "42" in (whole.choices[0].message.content or "")
            assert whole.choices[0].finish_reason == "stop" and not whole.choices[0].message.tool_calls


async def test_with_a_session_key_only_the_last_message_is_appended(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, client(gateway) as ai:
        headers = {"X-Session-Key": "notes"}
        for number in (1, 2):
            await ai.chat.completions.create(
                model="demo", extra_headers=headers,
                messages=[user("forged"), {"role": "assistant", "content": "x"}, user(f"say n{number}")],
            )  # fmt: skip
        history = (await gateway.rpc("chat.history", "alice", session_key="notes"))["result"]["messages"]
        assert [m["text"] for m in history if m["role"] == "user"] == ["say n1", "say n2"]
        for key in ("websocket:bob", "telegram:1"):
            with pytest.raises(openai.NotFoundError):
                await ai.chat.completions.create(
                    model="demo",
                    messages=[user("x")],
                    extra_headers={"X-Session-Key": key},
                )


async def test_a_lost_client_ends_an_ephemeral_turn_and_no_other(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.02) as gateway:

        async def busy() -> int:
            async with gateway.http.get(gateway.url + "/status", headers=bearer("root")) as response:
                return int((await response.json())["queues"]["running"])

        for stream in (True, False):
            body = {"model": "demo", "messages": [user("count to 900")], "stream": stream}
            asked = asyncio.ensure_future(
                gateway.http.post(gateway.url + "/v1/chat/completions", json=body, headers=bearer("alice"))
            )
            async with asyncio.timeout(5):
                while not await busy():
                    await asyncio.sleep(0.02)
            if stream:
                (await asked).close()
            else:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            async with asyncio.timeout(5):
                while await busy():
                    await asyncio.sleep(0.02)
        body = {"model": "demo", "messages": [user("count to 60")], "stream": True}
        response = await gateway.http.post(
            gateway.url + "/v1/chat/completions", json=body, headers=bearer("alice") | {"X-Session-Key": "kept"}
        )
        await response.content.readany()
        response.close()
        async with asyncio.timeout(10):
            while await busy():
                await asyncio.sleep(0.05)
        history = (await gateway.rpc("chat.history", "alice", session_key="kept"))["result"]["messages"]
        assert len(history) == 2 and "60" in history[1]["text"]


async def test_what_is_wrong_with_a_request_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        url = gateway.url + "/v1/chat/completions"
        for body in ({}, {"messages": []}, {"messages": "x"}, {"messages": [{}]}, {"messages": [user("")]},
                     {"messages": [{"role": "king", "content": "x"}]}, {"messages": [user("x")], "n": 2},
                     {"messages": [{"role": "user", "content": 5}]}, {"messages": [user("x")], "tools": [{}]},
                     {"messages": [user("x")], "stream": "yes"}, {"messages": [user("x")], "max_tokens": 0},
                     {"messages": [{"role": "user", "content": [{"type": "video"}]}]}):  # fmt: skip
            async with gateway.http.post(url, json=body, headers=bearer("alice")) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (400, 1000), body
        async with gateway.http.post(url, data=b"{", headers=bearer("alice")) as response:
            assert response.status == 400
        async with client(gateway, "wrong") as ai:
            with pytest.raises(openai.AuthenticationError):
                await ai.models.list()


async def test_a_model_that_fails_is_an_error_for_the_client_too(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        entry = {"name": "m", "base_url": model.url, "api_key": "x", "model": "up"}
        async with running(tmp_path, models=[entry]) as gateway, client(gateway) as ai:
            with pytest.raises(openai.APIStatusError) as failed:
                await ai.chat.completions.create(model="m", messages=[user("!refused-key")])
            assert failed.value.status_code >= 400
            stream = await ai.chat.completions.create(model="m", messages=[user("!refused-key")], stream=True)
            with pytest.raises(openai.APIError):
                async for _ in stream:
                    pass


async def test_pictures_of_a_request_without_a_session_go_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, client(gateway) as ai:

        async def show(picture: bytes, **headers: str) -> None:
            url = "data:image/png;base64," + base64.b64encode(picture).decode()
            parts: Any = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}}]
            messages: Any = [{"role": "user", "content": parts}]
            await ai.chat.completions.create(model="demo", messages=messages, extra_headers=headers)

        await show(b"of nobody")
        await show(b"of a session", **{"X-Session-Key": "pictures"})
        media = MediaFolder(tmp_path / "media", max_bytes=1)
        assert await media.sweep(time.time() + PASSING_SECONDS + 60) == 1
    left = [path.read_bytes() for path in (tmp_path / "media").rglob("med_*") if not path.suffix]
    assert left == [b"of a session"]
