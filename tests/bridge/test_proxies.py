"""A person behind a company's proxy: the tunnel goes through it, its TLS from end to end."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from bridge.proxies import proxy_of
from tests.contract2.peers import RawGateway

URL = "wss://gateway.test/v1/tunnel"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        (URL, {}, None),
        (URL, {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        (URL, {"https_proxy": "p:3128"}, "http://p:3128"),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "a.test, .test"}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "no_proxy": "GATEWAY.test:443"}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "gateway.test:8443,way.test"}, "http://p:3128"),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "*"}, None),
        (URL, {"HTTP_PROXY": "p:3128"}, None),
        (URL, {"HTTPS_PROXY": "socks5://p:1080"}, None),
        (URL.replace("wss", "https"), {"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ("wss://127.0.0.1:8443/", {"HTTPS_PROXY": "p:3128"}, None),
        ("wss://localhost/", {"HTTPS_PROXY": "p:3128"}, None),
        ("ws://127.0.0.1:8080/", {"HTTPS_PROXY": "p:3128", "HTTP_PROXY": "p:3128"}, None),
    ],
)
def test_which_proxy(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_of(url, environ) == proxy


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def relay(port: int, context: ssl.SSLContext | None, asked: list[str] | None) -> AsyncIterator[int]:
    """Carries bytes to `port`: a proxy that notes what it is `asked`, or, with `context`, the end of the TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked is not None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            asked.append(head.split("\r\n")[0])
            if len(asked) == 1:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        onward, back = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(reader, back))
            both.create_task(_carry(onward, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_through_a_proxy_to_a_gateway_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gateway.test").configure_cert(context)
    config = tmp_path / "config.yaml"
    token = "canary-0123456789abcdef0123456789"
    config.write_text(json.dumps({"server": {"url": URL, "token": token, "reconnect_interval": "50ms"}}))
    config.chmod(0o600)
    asked: list[str] = []
    async with RawGateway() as gateway, relay(gateway.port, context, None) as tls, relay(tls, None, asked) as proxy:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", "--config", str(config), stderr=asyncio.subprocess.PIPE,
            env=os.environ | {
                "HTTPS_PROXY": f"http://me:secret-of-the-proxy@127.0.0.1:{proxy}", "NO_PROXY": "",
                "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
            },
        )  # fmt: skip
        try:
            link = await gateway.link(1, 20)
            assert link.hello["token"] == token
            await link.nth("TOOLS")
        finally:
            process.terminate()
            _, output = await process.communicate()
    assert process.returncode == 0
    assert asked[:2] == ["CONNECT gateway.test:443 HTTP/1.1"] * 2
    assert b"the proxy answered 407" in output and b"secret-of-the-proxy" not in output
