"""The floor: a bare WebSocket relay, client ⇄ relay ⇄ model, with nothing in between.

It reads the model's stream, takes the text out of each chunk and sends it on as one
JSON frame. No sessions, no log, no numbers, no authentication. `python -m bench.relay
MODEL_URL` prints its port.
"""

import asyncio
import sys

import aiohttp
import orjson
from aiohttp import web


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    session: aiohttp.ClientSession = request.app["session"]
    async for frame in socket:
        asked = orjson.loads(frame.data)
        body = {"model": "bench", "messages": [{"role": "user", "content": asked["text"]}], "stream": True}
        async with session.post(request.app["url"] + "/v1/chat/completions", json=body) as response:
            rest = b""
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n\n")
                for line in lines:
                    if line == b"data: [DONE]":
                        continue
                    chunk = orjson.loads(line[6:])
                    if chunk["choices"] and (text := chunk["choices"][0]["delta"].get("content")):
                        await socket.send_str(orjson.dumps({"delta": text}).decode())
        await socket.send_str('{"done":true}')
    return socket


async def main(url: str) -> None:
    app = web.Application()
    app["url"] = url
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    app.router.add_get("/ws", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
