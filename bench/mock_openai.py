"""A fast OpenAI-compatible server: how it answers stands in the last message.

`mock:<chunks>:<milliseconds between chunks>;`. `GET` gives the size of the last request's
body. Raw asyncio, chunks encoded once, so
that it is never the slowest in the row. Prints its port.
"""

import asyncio
import re
import sys
import time
from functools import lru_cache

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(body: str) -> bytes:
    data = f"data: {body}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(content: str) -> bytes:
    return _event(
        '{"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":'
        f'[{{"index":0,"delta":{{"content":"{content}"}},"finish_reason":null}}]}}'
    )


@lru_cache(maxsize=8192)
def word(index: int) -> bytes:
    """The chunk number `index`: eleven characters of text."""
    return _chunk(f"word {index:05d} ")


def _end(reason: str) -> bytes:
    return (
        _event('{"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":[{"index":0,'
               f'"delta":{{}},"finish_reason":"{reason}"}}]}}')
        + _event('{"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":[],"usage":'
                 '{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}')
        + _event("[DONE]")
        + b"0\r\n\r\n"
    )  # fmt: skip


END, END_OF_CALLS = _end("stop"), _end("tool_calls")


def timed(index: int) -> bytes:
    """A chunk that carries the moment it was sent, in microseconds, for one-way times."""
    return _chunk(f"t{time.monotonic_ns() // 1000:d} ")


def script(body: bytes) -> bytes | None:
    """The answer to a body that asks for tools or a plan, or None where it is time for text.

    `tool:<rounds>:<calls>;` wants that many rounds of calls of `clock` first; `plan:<parts>;` in a request whose
    system prompt speaks of parts wants a plan.
    """
    if b"tool:" in body and (match := TOOLS.search(body)):
        rounds, calls = int(match[1]), int(match[2])
        if body.count(b'"role":"tool"') + body.count(b'"role": "tool"') < rounds * calls:
            number = body.count(b'"role":"tool"') + body.count(b'"role": "tool"')
            made = ",".join(
                f'{{"index":{n},"id":"call_{number}_{n}","type":"function","function":{{"name":"clock",'
                f'"arguments":"{{\\"zone\\":\\"{zone(number + n)}\\"}}"}}}}'
                for n in range(calls)
            )
            return HEAD + _event(
                '{"id":"c","object":"chat.completion.chunk","created":1,"model":"mock","choices":[{"index":0,"delta":'
                f'{{"tool_calls":[{made}]}},"finish_reason":null}}]}}'
            ) + END_OF_CALLS  # fmt: skip
    if b'\\"parts\\"' in body and (match := PLAN.search(body)):
        parts = ",".join(f'{{\\"title\\":\\"part {n}\\",\\"task\\":\\"mock:20:5;\\"}}' for n in range(int(match[1])))
        return HEAD + _chunk(f'{{\\"parts\\":[{parts}]}}') + END
    return None


def zone(number: int) -> str:
    """One of 26 time zones: a call that is like an earlier one would be taken for a loop."""
    return f"Etc/GMT-{number % 26 + 1}" if number % 26 < 14 else f"Etc/GMT+{number % 26 - 13}"


TOOLS = re.compile(rb"tool:(\d+):(\d+);")
PLAN = re.compile(rb"plan:(\d+);")
last = [0]
"""Size of the last request's body, in bytes."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, request after request."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(last[0])), last[0]))
                continue
            size = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-le")
            )
            body = await reader.readexactly(size)
            last[0] = size
            scripted = script(body)
            if scripted is not None:
                writer.write(scripted)
                continue
            at = body.rindex(b"mock:") + 5
            count, pause = body[at : body.index(b";", at)].split(b":")
            await answer(writer, int(count), float(pause) / 1000)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def answer(writer: asyncio.StreamWriter, count: int, pause: float) -> None:
    """Stream `count` chunks with `pause` seconds between them."""
    writer.write(HEAD)
    if pause:
        for index in range(count):
            writer.write(timed(index))
            await asyncio.sleep(pause)
    else:
        for index in range(count):
            writer.write(word(index))
            if index % 16 == 15:
                await writer.drain()
                await asyncio.sleep(0)
    writer.write(END)
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
