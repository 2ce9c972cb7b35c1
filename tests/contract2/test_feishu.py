"""Feishu's webhook as the contract describes it, its cryptography written here, against a platform of a few lines."""

import asyncio
import base64
import hashlib
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.contract2.platforms import Server
from tests.contract2.test_channels import CODE, admin, in_state
from tests.e2e.gateway_process import gateway_process

KEY, TOKEN = "encrypt-key", "verification-token"


class Feishu(Server):
    """Tokens, messages and cards."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.app.router.add_route("*", "/open-apis/{path:.*}", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        text = await request.text()
        self.note(f"{request.method} {path}", json.loads(text) if text else {})
        if "tenant_access_token" in path:
            return web.json_response({"code": 0, "msg": "ok", "tenant_access_token": "t", "expire": 7200})
        if path.startswith("bot/v3/info"):
            return web.json_response(
                {"code": 0, "msg": "ok", "bot": {"open_id": "ou_bot", "app_name": "bot", "activate_status": 2}}
            )
        if path == "cardkit/v1/cards":
            return web.json_response({"code": 0, "msg": "ok", "data": {"card_id": f"card{next(self.numbers)}"}})
        data = {"message_id": f"om_{next(self.numbers)}", "chat_id": "oc_1", "msg_type": "text", "reaction_id": "r"}
        return web.json_response({"code": 0, "msg": "ok", "data": data})

    def everything(self) -> str:
        return "\n".join(json.dumps(body, ensure_ascii=False) for _, body in self.calls)


def sealed(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    pad = 16 - len(data) % 16
    vector = os.urandom(16)
    seal = Cipher(algorithms.AES(hashlib.sha256(KEY.encode()).digest()), modes.CBC(vector)).encryptor()
    secret = vector + seal.update(data + bytes([pad]) * pad) + seal.finalize()
    return json.dumps({"encrypt": base64.b64encode(secret).decode()}).encode()


def signed(body: bytes, *, at: float | None = None, key: str = KEY) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    digest = hashlib.sha256((stamp + "nonce" + key).encode() + body).hexdigest()
    return {
        "X-Lark-Request-Timestamp": stamp,
        "X-Lark-Request-Nonce": "nonce",
        "X-Lark-Signature": digest,
        "Content-Type": "application/json",
    }


def event(
    number: int, text: str, who: str = "ou_1", chat: str = "oc_1", kind: str = "p2p", **more: Any
) -> dict[str, Any]:
    return {
        "schema": "2.0",
        "header": {
            "event_id": f"ev{number}",
            "event_type": "im.message.receive_v1",
            "create_time": str(int(time.time() * 1000)),
            "token": TOKEN,
            "app_id": "cli_a",
            "tenant_key": "tk",
        },
        "event": {
            "sender": {
                "sender_id": {"open_id": who, "user_id": None, "union_id": f"on_{who}"},
                "sender_type": "user",
                "tenant_key": "tk",
            },
            "message": {
                "message_id": f"om_in{number}",
                "create_time": str(int(time.time() * 1000)),
                "chat_id": chat,
                "chat_type": kind,
                "message_type": "text",
                "content": json.dumps({"text": text}),
                **more,
            },
        },
    }


async def test_webhook(tmp_path: Path) -> None:
    async with Feishu() as fake:
        section = {
            "enabled": True,
            "app_id": "cli_a",
            "app_secret": "s",
            "domain": fake.url,
            "mode": "webhook",
            "encrypt_key": KEY,
            "verification_token": TOKEN,
            "allow_from": ["ou_1"],
            "groups": {"oc_g": {"allow_from": ["*"]}},
        }
        async with (
            gateway_process(tmp_path / "home", {"channels": {"feishu": section}}) as gateway,
            aiohttp.ClientSession() as http,
        ):
            await in_state(gateway, "feishu", "ready")
            url = f"{gateway.url}/webhooks/feishu"

            async def post(body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
                async with http.post(url, data=body, headers=headers) as answer:
                    return answer.status, await answer.json()

            challenge = sealed({"type": "url_verification", "challenge": "abc", "token": TOKEN})
            assert await post(challenge, signed(challenge)) == (200, {"challenge": "abc"})
            assert (await post(challenge, {"Content-Type": "application/json"}))[0] in (200, 401)
            body = sealed(event(1, "what is 20 + 1?"))
            assert (await post(body, {}))[0] == 401
            assert (await post(body, signed(body, key="wrong")))[0] == 401
            assert (await post(body, signed(body, at=time.time() - 400)))[0] == 401
            assert (await post(body, signed(body, at=time.time() + 400)))[0] == 401
            other = sealed(event(2, "x") | {"header": event(2, "x")["header"] | {"token": "wrong"}})
            assert (await post(other, signed(other)))[0] == 401
            plain = json.dumps(event(3, "plain")).encode()
            assert (await post(plain, signed(plain)))[0] in (400, 401)
            for _ in range(2):
                assert (await post(body, signed(body)))[0] == 200
            await fake.until(lambda: "21" in fake.everything())
            sends = [b for name, b in fake.calls if name.startswith(("POST im/v1/messages",)) and "uuid" in b]
            assert sends and all(len(b["uuid"]) <= 50 for b in sends), fake.calls
            # an unknown sender is shown a code
            body = sealed(event(4, "hi", who="ou_2", chat="oc_2"))
            await post(body, signed(body))
            await fake.until(lambda: CODE.search(fake.everything()))
            mention = [{"key": "@_user_1", "id": {"open_id": "ou_bot"}, "name": "bot", "tenant_key": "tk"}]
            body = sealed(event(5, "what is 20 + 2?", who="ou_3", chat="oc_g", kind="group"))
            await post(body, signed(body))
            await asyncio.sleep(0.3)
            assert '22"' not in fake.everything()
            body = sealed(event(6, "@_user_1 what is 20 + 3?", who="ou_3", chat="oc_g", kind="group", mentions=mention))
            await post(body, signed(body))
            await fake.until(lambda: "23" in fake.everything())
            body = sealed(
                event(
                    7,
                    "@_user_1 what is 20 + 4?",
                    who="ou_3",
                    chat="oc_g",
                    kind="group",
                    mentions=mention,
                    thread_id="omt_1",
                    root_id="om_x",
                )
            )
            await post(body, signed(body))
            wanted = {"agent:main:feishu:group:oc_g", "agent:main:feishu:group:oc_g:thread:omt_1"}
            async with admin(gateway) as boss, asyncio.timeout(10):
                keys: set[str] = set()
                while not wanted <= keys:
                    keys = {session["session_key"] for session in (await boss.call("session.list"))["sessions"]}
                    await asyncio.sleep(0.05)
