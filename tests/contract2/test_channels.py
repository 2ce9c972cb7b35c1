"""The channels as section 8 of the contract describes them, against platforms of a few lines."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract2.platforms import Discord, Telegram
from tests.e2e.gateway_process import Client, GatewayProcess, gateway_process

CODE = re.compile(r"\b([A-HJ-NP-Z2-9]{4})-([A-HJ-NP-Z2-9]{4})\b")


def on_telegram(fake: Telegram, **more: Any) -> dict[str, Any]:
    return {"channels": {"telegram": {"enabled": True, "token": "1:A", "base_url": fake.url, **more}}}


def on_discord(fake: Discord, **more: Any) -> dict[str, Any]:
    return {"channels": {"discord": {"enabled": True, "token": "abc", "api_url": f"{fake.url}/api/v10", **more}}}


async def status(gateway: GatewayProcess) -> dict[str, Any]:
    token = next(gateway.home.glob("*token*")).read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/status", headers=bearer) as answer:
        return dict(await answer.json())


async def in_state(gateway: GatewayProcess, channel: str, *states: str, seconds: float = 15) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while (found := (await status(gateway))["channels"][channel])["state"] not in states:
            await asyncio.sleep(0.05)
    return dict(found)


def admin(gateway: GatewayProcess) -> Client:
    return Client(gateway.ws, next(gateway.home.glob("*token*")).read_text().strip())


async def test_telegram_pairing(tmp_path: Path) -> None:
    async with Telegram() as fake, gateway_process(tmp_path / "home", on_telegram(fake)) as gateway:
        shown = await in_state(gateway, "telegram", "ready")
        assert set(shown) >= {"state", "since", "queued"} and shown["queued"] == 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", shown["since"])
        assert (await status(gateway))["channels"]["discord"]["state"] == "off"
        fake.says("hello")
        await fake.until(lambda: fake.texts(42))
        found = CODE.search(fake.texts(42)[0])
        assert found, fake.texts(42)
        fake.says("hello again")
        await asyncio.sleep(0.5)
        assert len(fake.texts(42)) == 1
        code = "".join(found.groups()).lower()
        exit_code, out, _ = await gateway.command("pair", "list", "--json")
        (pending,) = json.loads(out)["pending"]
        assert set(pending) == {"code", "channel", "peer_id", "name", "expires_at"} and pending["peer_id"] == "42"
        assert pending["channel"] == "telegram" and CODE.fullmatch(pending["code"])
        assert (await gateway.command("pair", "approve", "AAAA-AAAA"))[0] == 1
        exit_code, out, error = await gateway.command("pair", "approve", code)
        assert exit_code == 0, error
        assert (await gateway.command("pair", "approve", code))[0] == 1
        fake.says("what is 2 + 2?")
        await fake.until(lambda: any("4" in text for text in fake.texts(42)))
        # a group is not opened by it
        fake.says("@b_bot hello", chat=-100)
        await asyncio.sleep(0.4)
        assert fake.texts(-100) == []
        async with admin(gateway) as boss:
            users = [user.get("user", user.get("id")) for user in (await boss.call("user.list"))["users"]]
            assert "telegram-42" in users, users
        # link: the identity's sessions move to alice
        async with Client(gateway.ws) as alice:
            link = await alice.call("identity.link")
            assert set(link) == {"code", "expires_at"}
            fake.says(f"/link {link['code']}")
            async with asyncio.timeout(5):
                while not (ids := (await alice.call("identity.list"))["identities"]):
                    await asyncio.sleep(0.05)
            assert re.fullmatch(r"telegram:[^:]+:42", ids[0]), ids
            keys = [s["session_key"] for s in (await alice.call("session.list"))["sessions"]]
            assert "agent:main:telegram:direct:42" in keys
            history = await alice.call("chat.history", session_key="agent:main:telegram:direct:42")
            assert any(m["text"] == "what is 2 + 2?" for m in history["messages"])
            # watched live
            await alice.call("session.subscribe", session_key="telegram:42")
            fake.says("what is 3 + 4?")
            done = await alice.until(lambda: [e for e in alice.events if e["type"] == "chat.done" and "7" in e["text"]])
            assert done[0]["session_key"] == "agent:main:telegram:direct:42"
            assert next(e for e in alice.events if e["type"] == "chat.message")["channel"] == "telegram"
            assert await alice.call("identity.unlink", identity=ids[0]) == {"unlinked": True}


async def test_telegram_groups(tmp_path: Path) -> None:
    rules = {
        "allow_from": [42],
        "groups": {"-100": {"allow_from": [42, 43]}, "-200": {}, "-300": {"allow_from": ["*"]}},
    }
    async with Telegram() as fake, gateway_process(tmp_path / "home", on_telegram(fake, **rules)) as gateway:
        await in_state(gateway, "telegram", "ready")
        fake.says("the secret word is melon", who=43, chat=-100)
        fake.says("the other word is grape", who=99, chat=-100)
        fake.says("@b_bot what is 1 + 1?", who=99, chat=-100)
        fake.says("@b_bot what is 1 + 1?", who=99, chat=-500)
        fake.says("@b_bot what is 1 + 1?", who=43, chat=-200)
        await asyncio.sleep(0.6)
        assert fake.texts(-100) == [] and fake.texts(-500) == [] and fake.texts(-200) == []
        fake.says("@b_bot what is 20 + 2?", who=43, chat=-100)
        await fake.until(lambda: any("22" in text for text in fake.texts(-100)))
        fake.says("@b_bot what is 20 + 3?", who=42, chat=-200)
        await fake.until(lambda: any("23" in text for text in fake.texts(-200)))
        fake.says("@b_bot what is 20 + 4?", who=98, chat=-300)
        await fake.until(lambda: any("24" in text for text in fake.texts(-300)))
        answer = fake.message(555, {"chat_id": -100, "text": "22"})
        fake.says("what is 20 + 5?", who=43, chat=-100, reply_to_message=answer)
        await fake.until(lambda: any("25" in text for text in fake.texts(-100)))
        fake.says("/help", who=43, chat=-100)
        await fake.until(lambda: any("/new" in text for text in fake.texts(-100)))
        fake.says("@b_bot what is 20 + 6?", who=42, chat=-100, message_thread_id=7, is_topic_message=True)
        await fake.until(lambda: any("26" in text for text in fake.texts(-100)))
        sent = [p for p in fake.of("sendMessage", "editMessageText") if "26" in p.get("text", "")]
        assert any(p.get("message_thread_id") == "7" for p in fake.of("sendMessage")), sent
        async with admin(gateway) as boss:
            keys = [s["session_key"] for s in (await boss.call("session.list"))["sessions"]]
            assert {"agent:main:telegram:group:-100", "agent:main:telegram:group:-100:topic:7"} <= set(keys), keys
            history = json.dumps(await boss.call("chat.history", session_key="agent:main:telegram:group:-100"))
            assert "melon" in history and "grape" not in history
        fake.says("hi", who=99)
        await fake.until(lambda: fake.texts(99))
        assert CODE.search(fake.texts(99)[0])


async def test_telegram_delivery(tmp_path: Path) -> None:
    async with Telegram() as fake, gateway_process(tmp_path / "home", on_telegram(fake, allow_from=["*"])) as gateway:
        await in_state(gateway, "telegram", "ready")
        limited = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 1}}
        fake.script["sendMessage"] = [(429, limited)]
        begun = time.monotonic()
        fake.says("what is 5 + 6?")
        await fake.until(lambda: any("11" in text for text in fake.texts(42)))
        assert time.monotonic() - begun >= 1
        assert fake.of("sendChatAction", "sendMessageDraft")
        assert fake.of("setMyCommands")
        blocked = {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}
        fake.script["sendMessage"] = [(403, blocked)]
        fake.says("/help")
        listed: list[Any] = []
        async with asyncio.timeout(10), admin(gateway) as boss:
            while not listed:
                listed = (await boss.call("delivery.list"))["deliveries"]
                await asyncio.sleep(0.05)
            assert set(listed[0]) == {"delivery_id", "channel", "chat_id", "state", "reason", "preview", "at"}
            assert listed[0]["state"] == "refused" and listed[0]["chat_id"] == "42"
            count = len(fake.texts(42))
            assert await boss.call("delivery.resend", delivery_id=listed[0]["delivery_id"]) == {"resent": True}
        await fake.until(lambda: len(fake.texts(42)) == count + 1)
        # an update repeated, after a restart too
        update = fake.says("what is 30 + 1?")
        await fake.until(lambda: any("31" in text for text in fake.texts(42)))
        count = len(fake.texts(42))
        assert await gateway.stop() == 0
        fake.queue.append(update)
        await gateway.start()
        await in_state(gateway, "telegram", "ready")
        await asyncio.sleep(0.7)
        assert len(fake.texts(42)) == count
        fake.says("/last")
        await fake.until(lambda: len(fake.texts(42)) == count + 1)
        assert "31" in fake.texts(42)[-1]
        for command, word in [
            ("/status", ""),
            ("/sessions", ""),
            ("/tools", "clock"),
            ("/usage", ""),
            ("/language zh", ""),
            ("/mode fast", ""),
            ("/approvals", ""),
            ("/bridge", ""),
            ("/stop", ""),
            ("/new", ""),
        ]:
            count = len(fake.texts(42))
            fake.says(command)
            await fake.until(lambda n=count: len(fake.texts(42)) > n)
            assert word in fake.texts(42)[-1], (command, fake.texts(42)[-1])
        # a document is read, a photo is named
        fake.says(
            "",
            document={
                "file_id": "F1",
                "file_unique_id": "u",
                "file_name": "a.txt",
                "mime_type": "text/plain",
                "file_size": 17,
            },
            caption="read it",
        )
        count = len(fake.texts(42))
        await fake.until(lambda: len(fake.texts(42)) > count)
        assert fake.of("getFile")


async def test_telegram_approval(tmp_path: Path) -> None:
    effects = Path(__file__).parent.parent / "fakes" / "effects_server.py"
    tool = {
        "name": "fx",
        "command": sys.executable,
        "args": [str(effects), str(tmp_path / "fx")],
        "tools": {"ask": ["*"]},
    }
    async with Telegram() as fake:
        configuration = on_telegram(fake, allow_from=["*"]) | {"mcp_servers": [tool]}
        async with gateway_process(tmp_path / "home", configuration) as gateway:
            await in_state(gateway, "telegram", "ready")
            async with asyncio.timeout(15), admin(gateway) as boss:
                while not [t for t in (await boss.call("tools.list"))["tools"] if t["name"] == "fx_append_line"]:
                    await asyncio.sleep(0.05)
            for number, (label, effect) in enumerate(
                [("Allow once", True), ("Deny", False), ("Allow for this session", True)]
            ):
                fake.says(f'use fx_append_line {{"line": "{number}"}}')

                def buttons() -> list[tuple[int, str, str]]:
                    out = []
                    for message_id, shown in fake.shown.get(42, {}).items():
                        if shown.get("reply_markup"):
                            for row in json.loads(shown["reply_markup"]).get("inline_keyboard", []):
                                out += [(message_id, b["text"], b["callback_data"]) for b in row]
                    return out

                await fake.until(buttons, 15)
                labels = [text for _, text, _ in buttons()]
                assert labels == ["Allow once", "Allow for this session", "Always allow", "Deny"], labels
                message_id, _, data = next(b for b in buttons() if b[1] == label)
                fake.taps(42, message_id, data, who=43)
                await asyncio.sleep(0.3)
                assert buttons()
                if number == 0:
                    await gateway.kill()
                    await gateway.start()
                    await in_state(gateway, "telegram", "ready")
                    await asyncio.sleep(0.5)
                fake.taps(42, message_id, data, who=42)
                await fake.until(lambda: not buttons())
                assert fake.of("answerCallbackQuery")
                async with asyncio.timeout(10):
                    while effect and str(number) not in (
                        (tmp_path / "fx").read_text() if (tmp_path / "fx").exists() else ""
                    ):
                        await asyncio.sleep(0.05)
            assert (tmp_path / "fx").read_text().split() == ["0", "2"]


async def test_webhooks(tmp_path: Path) -> None:
    async with Telegram() as fake:
        hooked = on_telegram(
            fake,
            mode="webhook",
            webhook_url="https://x.example/webhooks/telegram",
            webhook_secret="s3cret",
            allow_from=["*"],
        )
        async with gateway_process(tmp_path / "home", hooked) as gateway, aiohttp.ClientSession() as http:
            await fake.until(lambda: fake.of("setWebhook"))
            assert fake.of("setWebhook")[0]["secret_token"] == "s3cret"
            url = f"{gateway.url}/webhooks/telegram"
            body = fake.says("what is 6 + 7?")
            for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}):
                async with http.post(url, data=b"not json at all", headers=headers) as answer:
                    assert answer.status == 401
                    assert (await answer.json())["error"]["code"] == 1001
            right = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}
            for _ in range(2):
                async with http.post(url, json=body, headers=right) as answer:
                    assert answer.status == 200
            await fake.until(lambda: any("13" in text for text in fake.texts(42)))
            async with http.post(f"{gateway.url}/webhooks/feishu", json={}) as answer:
                assert answer.status == 404
            async with http.post(f"{gateway.url}/webhooks/nobody", json={}) as answer:
                assert answer.status == 404
            # 401 before the body: a peer that never sends it is answered
            reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
            writer.write(b"POST /webhooks/telegram HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
            line = await asyncio.wait_for(reader.readline(), 3)
            assert b"401" in line, line
            writer.close()


@pytest.mark.parametrize(
    "section",
    [
        {"telegram": {"enabled": True, "token": "1:A", "mode": "webhook", "webhook_url": "https://x/"}},
        {"feishu": {"enabled": True, "app_id": "a", "app_secret": "b", "mode": "webhook", "encrypt_key": "k"}},
        {"feishu": {"enabled": True, "app_id": "a", "app_secret": "b", "mode": "webhook", "verification_token": "k"}},
    ],
)
async def test_webhook_without_a_secret(tmp_path: Path, section: dict[str, Any]) -> None:
    gateway = GatewayProcess(tmp_path / "home", {"channels": section})
    with pytest.raises(AssertionError):
        await gateway.start()
    assert gateway.process is not None and await gateway.process.wait() == 2, gateway.output


async def test_wrong_token(tmp_path: Path) -> None:
    async with Telegram() as fake:
        fake.script["getMe"] = [(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})] * 10
        async with gateway_process(tmp_path / "home", on_telegram(fake)) as gateway:
            shown = await in_state(gateway, "telegram", "failed", "degraded")
            assert shown["reason"]
            code, out, _ = await gateway.command("status", "--json")
            assert code == 0 and json.loads(out)["channels"]["telegram"]["reason"]


async def test_discord(tmp_path: Path) -> None:
    rules = {"allow_from": [42], "groups": {"701": {"allow_from": ["42"]}}}
    async with Discord() as fake, gateway_process(tmp_path / "home", on_discord(fake, **rules)) as gateway:
        await in_state(gateway, "discord", "ready")
        await fake.says("what is 8 + 9?")
        await fake.until(lambda: any("17" in text for text in fake.texts("942")))
        posts = [body for name, body in fake.calls if name == "POST channels/942/messages"]
        assert posts[0]["enforce_nonce"] is True and posts[0]["nonce"], posts
        assert posts[0]["allowed_mentions"]["parse"] == []
        assert ("GET gateway") in [name for name, _ in fake.calls]
        assert any(name == "POST channels/942/typing" for name, _ in fake.calls)
        await fake.says("what is 1 + 1?", channel="701")
        await fake.says("<@1> what is 1 + 1?", who="43", channel="701")
        await asyncio.sleep(0.5)
        assert fake.texts("701") == []
        await fake.says("<@1> what is 20 + 1?", channel="701")
        await fake.until(lambda: any("21" in text for text in fake.texts("701")))
        await fake.says("<@1> what is 20 + 2?", channel="702")
        await fake.until(lambda: any("22" in text for text in fake.texts("702")))
        async with admin(gateway) as boss:
            keys = [s["session_key"] for s in (await boss.call("session.list"))["sessions"]]
            assert {
                "agent:main:discord:direct:42",
                "agent:main:discord:group:701",
                "agent:main:discord:group:701:thread:702",
            } <= set(keys) or "agent:main:discord:group:701:thread:702" in keys, keys
        await fake.says("hi", who="44")
        await fake.until(lambda: fake.texts("944"))
        assert CODE.search(fake.texts("944")[0])
        await fake.sockets[0].close(code=1001)
        await fake.until(lambda: fake.of("RESUME"))
        await fake.says("what is 20 + 9?")
        await fake.until(lambda: any("29" in text for text in fake.texts("942")))
