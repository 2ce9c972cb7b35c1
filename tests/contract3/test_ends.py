"""Every accepted message ends in one `chat.done` or `chat.error`, told to the connection that sent it."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.gateway_process import Client, Refused, gateway_process
from tests.fakes.openai_server import OpenAIServer


async def test_a_turn_that_the_next_message_stops_ends_for_whoever_sent_both(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        models = {"models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "echo"}]}
        async with gateway_process(tmp_path / "home", models) as gateway, Client(gateway.ws) as alice:
            await alice.call("chat.send", text="hello")
            answered = await alice.call("chat.send_stream", text="!slow 50 100")
            await alice.until(lambda: alice.of(answered["message_id"], "chat.delta"))
            new = await alice.call("chat.send_stream", text="/new")
            assert (await alice.end(answered["message_id"], seconds=3))["code"] == 1009
            assert (await alice.end(new["message_id"]))["type"] == "chat.done"
            seqs = [event["seq"] for event in alice.events if event["seq"] != new["seq"]]
            assert seqs == sorted(set(seqs)) and set(range(seqs[0], seqs[-1] + 1)) - set(seqs) == {new["seq"]}


async def test_turns_that_end_while_others_are_refused_or_taken_in_are_told_to_their_ends(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        configuration = {
            "models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "echo"}],
            "limits": {"messages_per_minute": 0, "queued_messages_per_session": 3},
        }
        async with gateway_process(tmp_path / "home", configuration) as gateway, Client(gateway.ws) as alice:
            sent: list[str] = []

            async def one(number: int) -> None:
                await asyncio.sleep(number * 0.002)
                try:
                    sent.append((await alice.call("chat.send_stream", text=f"say {number}"))["message_id"])
                except Refused as refused:
                    assert refused.code == 1007

            await asyncio.gather(*(one(number) for number in range(60)))
            assert len(sent) > 3
            for message_id in sent:
                await alice.end(message_id, seconds=5)
            await asyncio.sleep(0.1)
            ends = [e["message_id"] for e in alice.events if e["type"] in ("chat.done", "chat.error")]
            assert sorted(ends) == sorted(sent)


@pytest.mark.parametrize("command", ["/stop", "/status"])
async def test_a_command_during_a_turn_and_the_turn_both_end(tmp_path: Path, command: str) -> None:
    async with OpenAIServer() as model:
        models = {"models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "echo"}]}
        async with gateway_process(tmp_path / "home", models) as gateway, Client(gateway.ws) as alice:
            answered = await alice.call("chat.send_stream", text="!slow 20 30")
            await alice.until(lambda: alice.of(answered["message_id"], "chat.delta"))
            said = await alice.call("chat.send_stream", text=command)
            assert (await alice.end(said["message_id"]))["type"] == "chat.done"
            assert await alice.call("chat.abort", message_id=said["message_id"]) == {"aborted": False}
            ended = await alice.end(answered["message_id"])
            assert ended["type"] == ("chat.error" if command == "/stop" else "chat.done")


@pytest.mark.parametrize("method", ["chat.send", "chat.send_stream"])
async def test_nobody_waits_for_the_end_of_a_message_that_was_deleted(tmp_path: Path, method: str) -> None:
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as alice:
        asked = {"text": "hello", "session_key": "gone", "idempotency_key": "once"}
        first = await alice.call(method, **asked)
        await alice.call("session.delete", session_key="gone")
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await asyncio.wait_for(alice.call(method, **asked), 3)
            assert refused.value.code == 1003
            again = await alice.call("chat.send", text="hello again", session_key="gone")
            assert again["message_id"] != first["message_id"]


async def test_what_was_deleted_is_not_replayed(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as alice, Client(gateway.ws) as other:
        await alice.call("chat.send", text="the secret", session_key="s")
        await other.call("session.subscribe", session_key="s")
        await alice.call("session.delete", session_key="s")
        deleted = (await other.until(lambda: [e for e in other.events if e.get("deleted")]))[0]["seq"]
        begun = await alice.call("chat.send_stream", text="hello again", session_key="s")
        assert begun["seq"] == deleted + 1
        ended = await other.end(begun["message_id"])
        async with Client(gateway.ws) as late:
            for after in (0, deleted - 2):
                with pytest.raises(Refused) as refused:
                    await late.call("session.subscribe", session_key="s", after_seq=after)
                assert refused.value.code == 1010
            told = await late.call("session.subscribe", session_key="s", after_seq=deleted)
            assert told == {"last_seq": ended["seq"], "replayed": ended["seq"] - deleted}


async def test_a_message_that_is_edited_while_it_waits_is_asked_once_as_edited(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        models = {"models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "echo"}]}
        async with gateway_process(tmp_path / "home", models) as gateway, Client(gateway.ws) as alice:
            running = await alice.call("chat.send_stream", text="!slow 20 20")
            waiting = await alice.call("chat.send_stream", text="first wording")
            edited = await alice.call("chat.send_stream", text="second wording", replaces=waiting["message_id"])
            assert (await alice.end(waiting["message_id"]))["code"] == 1009
            assert (await alice.end(running["message_id"]))["type"] == "chat.done"
            assert (await alice.end(edited["message_id"]))["text"] == "You said: second wording"
            history = await alice.call("chat.history", session_key=edited["session_key"])
            assert [m["text"] for m in history["messages"] if m["role"] == "user"] == ["!slow 20 20", "second wording"]
            assert not any(m.get("content") == "first wording" for r in model.requests for m in r["messages"])
