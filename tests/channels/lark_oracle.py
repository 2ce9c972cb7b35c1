"""The official SDK as an oracle, in a process of its own: importing it takes seconds and 160 MB.

Reads one JSON object from stdin and writes one to stdout: what `lark_oapi` makes of
the same frames, bodies and server that our own code is tested with.
"""

import json
import os
import sys
import threading
from typing import Any

import lark_oapi as lark
from lark_oapi.core.utils import AESCipher
from lark_oapi.ws.pb.pbbp2_pb2 import Frame

NUMBERS = {"seq_id": "SeqID", "log_id": "LogID", "service": "service", "method": "method"}
TEXTS = {"payload_encoding": "payload_encoding", "payload_type": "payload_type", "log_id_new": "LogIDNew"}


def read(data: str) -> dict[str, Any]:
    """The fields of an encoded frame, as the SDK sees them."""
    frame = Frame.FromString(bytes.fromhex(data))
    out = {ours: getattr(frame, theirs) for ours, theirs in {**NUMBERS, **TEXTS}.items()}
    return out | {"headers": {h.key: h.value for h in frame.headers}, "payload": frame.payload.hex()}


def write(fields: dict[str, Any]) -> str:
    """A frame encoded by the SDK."""
    frame = Frame()
    for ours, theirs in NUMBERS.items():
        setattr(frame, theirs, fields[ours])
    for ours, theirs in TEXTS.items():
        if fields[ours]:
            setattr(frame, theirs, fields[ours])
    for key, value in fields["headers"].items():
        header = frame.headers.add()
        header.key, header.value = key, value
    if fields["payload"]:
        frame.payload = bytes.fromhex(fields["payload"])
    return frame.SerializeToString().hex()


def webhook(call: dict[str, Any]) -> dict[str, Any]:
    """What the SDK's dispatcher answers to a webhook call."""
    seen: list[str] = []
    handler = (
        lark.EventDispatcherHandler.builder(call["encrypt_key"], call["token"], lark.LogLevel.CRITICAL)
        .register_p2_im_message_receive_v1(lambda event: seen.append(event.event.message.content))
        .build()
    )
    request = lark.RawRequest()
    request.uri, request.headers, request.body = "/", call["headers"], bytes.fromhex(call["body"])
    answer = handler.do(request)
    return {"status": answer.status_code, "body": answer.content.decode(), "seen": seen}


def listen(domain: str) -> list[str]:
    """The text of the first event that the SDK's own client gets from the server at `domain`."""
    seen: list[str] = []
    done = threading.Event()

    def on_message(event: Any) -> None:
        seen.append(event.event.message.content)
        done.set()

    handler = lark.EventDispatcherHandler.builder("", "").register_p2_im_message_receive_v1(on_message).build()
    client = lark.ws.Client("cli_app", "feishu-secret", event_handler=handler, domain=domain,
                            log_level=lark.LogLevel.CRITICAL)  # fmt: skip
    threading.Thread(target=client.start, daemon=True).start()
    done.wait(10)
    return seen


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    answer = {
        "read": [read(data) for data in asked["read"]],
        "written": [write(fields) for fields in asked["write"]],
        "decrypted": [AESCipher(key).decrypt_str(text) for key, text in asked["decrypt"]],
        "webhook": [webhook(call) for call in asked["webhook"]],
        "listened": listen(asked["domain"]),
    }
    print(json.dumps(answer), flush=True)
    sys.stdout.flush()
    os._exit(0)
