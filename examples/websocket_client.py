"""A WebSocket client: sends one message, prints the answer as it streams, and goes on where it was if the line breaks.

Needs `websockets`. The protocol: docs/protocol.md.
"""

import asyncio
import json
import os
import sys
import uuid

import websockets

URL = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080").replace("http", "ws", 1) + "/ws"
TOKEN = os.environ["GATEWAY_TOKEN"]


async def ask(text: str) -> None:
    # The same key makes a repeat the same message: after a broken line nothing is asked twice.
    params = {"text": text, "idempotency_key": str(uuid.uuid4())}
    shown = 0  # the seq of the last event that was printed
    async for socket in websockets.connect(URL, additional_headers={"Authorization": f"Bearer {TOKEN}"}):
        try:
            request = {"jsonrpc": "2.0", "id": 1, "method": "chat.send_stream", "params": params}
            await socket.send(json.dumps(request))
            message_id = ""
            async for frame in socket:
                told = json.loads(frame)
                if "error" in told:
                    sys.exit(f"{told['error']['code']}: {told['error']['message']}")
                if "result" in told:
                    message_id = told["result"]["message_id"]
                    continue
                event = told["params"]
                if event.get("message_id") != message_id or event.get("seq", 0) <= shown:
                    continue
                shown = event["seq"]
                if event["type"] == "chat.delta":
                    print(event["delta"], end="", flush=True)
                elif event["type"] == "tool.started":
                    print(f"\n[{event['name']}]", file=sys.stderr)
                elif event["type"] == "chat.done":
                    print()
                    return
                elif event["type"] == "chat.error":
                    sys.exit(f"\n{event['code']}: {event['message']}")
        except websockets.ConnectionClosed:
            continue  # connect again; the gateway replays what was missed


if __name__ == "__main__":
    asyncio.run(ask(" ".join(sys.argv[1:]) or "hello"))
