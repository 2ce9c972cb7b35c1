"""Our frames, our reading of the webhook and our fake server, held against the official SDK."""

import asyncio
import json
import random
import sys
from typing import Any

import pytest

from channels.feishu.frames import BadFrame, Frame, decode, encode
from channels.feishu.webhook import Keys, NotGenuine, decrypt, read
from tests.fakes.feishu_server import FakeFeishu
from tests.fakes.feishu_socket import Webhook, encrypt
from tests.fakes.remote import RemoteFake

KEYS = Keys("encrypt-key", "verification-token")


def some_frames() -> list[Frame]:
    """Frames at every edge of their fields."""
    chance = random.Random(4)
    frames = [Frame(), Frame(seq_id=2**64 - 1, log_id=2**63, service=-1, method=1), Frame(service=2**31 - 1)]
    for _ in range(200):
        headers = {f"键{n}" * n: "v" * chance.randrange(300) for n in range(chance.randrange(5))}
        frames.append(
            Frame(seq_id=chance.getrandbits(64), log_id=chance.getrandbits(chance.randrange(1, 64)),
                  service=chance.randrange(-(2**31), 2**31), method=chance.randrange(2), headers=headers,
                  payload=chance.randbytes(chance.choice([0, 1, 127, 128, 20_000])),
                  payload_encoding=chance.choice(["", "gzip"]), payload_type=chance.choice(["", "json"]),
                  log_id_new=chance.choice(["", "02"]))
        )  # fmt: skip
    return frames


def fields(frame: Frame) -> dict[str, Any]:
    return {
        "seq_id": frame.seq_id, "log_id": frame.log_id, "service": frame.service, "method": frame.method,
        "headers": frame.headers, "payload": frame.payload.hex(), "payload_encoding": frame.payload_encoding,
        "payload_type": frame.payload_type, "log_id_new": frame.log_id_new,
    }  # fmt: skip


def calls() -> list[tuple[bytes, dict[str, str], bool]]:
    """Webhook calls, and whether they are genuine."""
    fake, hook = FakeFeishu(), Webhook(KEYS.encrypt_key, KEYS.verification_token)
    event = fake.message_event("ou_1", "你好")
    stranger = {**event, "header": {**event["header"], "token": "guessed"}}
    challenge = {"type": "url_verification", "challenge": "c-1", "token": KEYS.verification_token}
    foreign = Webhook("another-key", KEYS.verification_token)
    return [
        (*hook.sign(event), True),
        (*hook.sign(challenge), True),
        (*hook.sign(event, signature="0" * 64), False),
        (*hook.sign(stranger), False),
        (*hook.sign({**challenge, "token": "guessed"}), False),
        (*foreign.sign(event), False),
    ]


async def ask_the_sdk(domain: str, fake: RemoteFake) -> dict[str, Any]:
    asked = {
        "read": [encode(frame).hex() for frame in some_frames()],
        "write": [fields(frame) for frame in some_frames()],
        "decrypt": [["key", encrypt(b"x" * n, "key")] for n in (1, 15, 16, 17, 5000)],
        "webhook": [
            {"encrypt_key": KEYS.encrypt_key, "token": KEYS.verification_token, "headers": headers, "body": body.hex()}
            for body, headers, _ in calls()
        ],
        "domain": domain,
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.channels.lark_oracle",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 << 20,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(asked).encode() + b"\n")
    await fake("connection.until_connected", 60)
    await fake("says", "ou_1", "heard by the SDK")
    line = await child.stdout.readline()
    child.stdin.close()
    await child.wait()
    answer: dict[str, Any] = json.loads(line)
    return answer


async def test_the_sdk_agrees() -> None:
    async with RemoteFake("feishu_server") as fake:
        said = await ask_the_sdk(f"http://127.0.0.1:{fake.port}", fake)
        pushes = await fake("connection.pushes")
    frames = some_frames()
    assert said["read"] == [fields(frame) for frame in frames]
    assert [decode(bytes.fromhex(data)) for data in said["written"]] == frames
    assert [bytes.fromhex(data) for data in said["written"]] == [encode(frame) for frame in frames]
    assert said["decrypted"] == ["x" * n for n in (1, 15, 16, 17, 5000)]
    for theirs, (body, headers, genuine) in zip(said["webhook"], calls(), strict=True):
        assert (theirs["status"] == 200) == genuine
        if genuine:
            assert read(headers, body, KEYS, signed=True)
        else:
            with pytest.raises(NotGenuine):
                read(headers, body, KEYS, signed=True)
    assert [json.loads(text) for text in said["listened"]] == [{"text": "heard by the SDK"}]
    assert [push["code"] for push in pushes.values()] == [200]


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08\x01", b"\xff" * 20, b"\x2a\x05ab", b"\x0b", b"\x2a\x02\x0a\x00"])
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)


def test_unknown_fields_are_skipped() -> None:
    more = b"\x52\x03abc\x58\x01\x61" + b"\0" * 8 + b"\x6d" + b"\0" * 4
    assert decode(encode(Frame(method=1)) + more) == Frame(method=1)


def test_what_cannot_be_decrypted_is_an_error_and_never_a_crash() -> None:
    for text in ("", "!!", "AAAA", encrypt(b"x", "other")):
        with pytest.raises(ValueError):
            decrypt(text, "key")
