"""The program as a person meets it: started, talked to, stopped, pulled out of the wall, started again."""

import asyncio
from pathlib import Path

from openai import AsyncOpenAI

from tests.e2e.gateway_process import ALICE, BOB, Client, GatewayProcess, Refused, gateway_process


async def test_a_chat_with_the_demo_model(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway:
        async with Client(gateway.ws) as client:
            accepted = await client.call("chat.send_stream", text="hello, who are you?")
            assert set(accepted) == {"message_id", "session_key", "seq"}
            assert accepted["session_key"] == "agent:main:websocket:direct:alice"
            done = await client.end(accepted["message_id"])
            assert done["type"] == "chat.done" and done["text"]
            assert client.text(accepted["message_id"]) == done["text"]
            mine = client.of(accepted["message_id"])
            assert [e["seq"] for e in mine] == list(range(accepted["seq"] + 1, done["seq"] + 1))
            whole = await client.call("chat.send", text="thank you")
            assert whole["finish_reason"] == "stop" and whole["text"]
            assert (await client.ask("what time is it?"))["type"] == "chat.done"
            tools = [e for e in client.events if e["type"] == "tool.started"]
            assert [tool["name"] for tool in tools] == ["clock"]
            history = await client.call("chat.history", session_key=accepted["session_key"])
            assert history["messages"][0]["text"] == "hello, who are you?"
        assert await gateway.stop() == 0


async def test_the_plug_is_pulled_in_mid_answer(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    await gateway.start()
    async with Client(gateway.ws) as client:
        accepted = await client.call("chat.send_stream", text="count to 200", idempotency_key="once")
        await client.until(lambda: len(client.of(accepted["message_id"], "chat.delta")) > 5)
        await gateway.kill()
    await gateway.start()
    try:
        async with Client(gateway.ws) as client:
            again = await client.call("chat.send_stream", text="count to 200", idempotency_key="once")
            assert again["message_id"] == accepted["message_id"] and again["seq"] == accepted["seq"]
            done = await client.end(accepted["message_id"], 40)
            assert done["type"] == "chat.done"
            assert "200" in done["text"]
            history = await client.call("chat.history", session_key=accepted["session_key"])
            assert [m["role"] for m in history["messages"]] == ["user", "assistant"]
            assert history["messages"][1]["text"] == done["text"]
            started = client.of(accepted["message_id"], "chat.started")
            assert not started or started[-1]["attempt"] == 2
    finally:
        await gateway.stop()


async def test_stop_in_mid_answer(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway, Client(gateway.ws) as client:
        accepted = await client.call("chat.send_stream", text="count to 200")
        await client.until(lambda: len(client.of(accepted["message_id"], "chat.delta")) > 5)
        assert (await client.call("chat.abort", session_key=accepted["session_key"])) == {"aborted": True}
        end = await client.end(accepted["message_id"], 2)
        assert (end["type"], end["code"]) == ("chat.error", 1009)
        again = await client.call("chat.send_stream", text="count to 200")
        await client.until(lambda: len(client.of(again["message_id"], "chat.delta")) > 5)
        assert (await client.ask("/stop"))["type"] == "chat.done"
        assert (await client.end(again["message_id"], 2))["code"] == 1009


async def test_any_openai_client(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway:
        client = AsyncOpenAI(api_key=ALICE, base_url=gateway.url + "/v1", max_retries=0)
        async with client:
            assert [model.id async for model in await client.models.list()]
            answer = await client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "hello"}])
            assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
            text = ""
            stream = await client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "what time is it?"}], stream=True,
                stream_options={"include_usage": True},
            )  # fmt: skip
            usage = None
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    text += choice.delta.content or ""
            assert text and usage is not None
        async with Client(gateway.ws) as person:
            assert (await person.call("session.list"))["sessions"] == []


async def test_people_never_see_each_other(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway, Client(gateway.ws) as alice, Client(gateway.ws, BOB) as bob:
        await alice.ask("my secret is kiwi", session_key="notes")
        for method in ("chat.history", "session.delete", "session.export", "session.subscribe"):
            for key in ("agent:main:websocket:direct:alice", "notes"):
                try:
                    await bob.call(method, session_key=key)
                except Refused as refused:
                    assert refused.code == 1003
                else:
                    raise AssertionError(f"{method} {key}")
        await bob.ask("hello", session_key="notes")
        assert "kiwi" not in str(await bob.call("chat.history", session_key="notes"))
        assert "kiwi" not in str(bob.events)
        assert (await alice.call("session.list"))["sessions"][0]["session_key"] == "notes"


async def test_a_clean_stop_in_mid_answer_goes_on_after_the_start(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, {"limits": {"drain_seconds": 0.2}})
    await gateway.start()
    async with Client(gateway.ws) as client:
        accepted = await client.call("chat.send_stream", text="count to 200")
        await client.until(lambda: len(client.of(accepted["message_id"], "chat.delta")) > 5)
        assert await gateway.stop(10) == 0
        assert client.socket.close_code in (1001, 1012)
    await gateway.start()
    try:
        async with Client(gateway.ws) as client:
            async with asyncio.timeout(30):
                while True:
                    history = await client.call("chat.history", session_key=accepted["session_key"])
                    if len(history["messages"]) == 2:
                        break
                    await asyncio.sleep(0.1)
            assert "200" in history["messages"][1]["text"]
    finally:
        await gateway.stop()
