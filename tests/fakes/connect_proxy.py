"""A company's proxy, as a process: CONNECT with Basic credentials (RFC 7617), whatever the host, to one port here.

`python connect_proxy.py PORT USER:PASSWORD`. Says its own port, then each request's first line and the status it gave.
"""

import asyncio
import base64
import sys

PORT, CREDENTIALS = int(sys.argv[1]), sys.argv[2]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    expected = "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()
    good = fields.get("proxy-authorization") == expected
    print(head[0], 200 if good else 407, flush=True)
    if not good:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
        writer.close()
        return
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    onward, back = await asyncio.open_connection("127.0.0.1", PORT)
    await asyncio.gather(carry(reader, back), carry(onward, writer))


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
