"""A person behind a company's proxy: the tunnel goes through it, its TLS from end to end."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

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
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "gateway.test:443"}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "a.test b.test gateway.test"}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "a.test,\n*.test"}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "gateway.test."}, None),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "*.way.test,ateway.test,gateway,test.gateway"}, "http://p:3128"),
        (URL, {"HTTPS_PROXY": "p:3128", "NO_PROXY": "127.0.0.1,::1,192.168.0.0/16,,."}, "http://p:3128"),
        ("wss://Gateway.TEST:8443/", {"HTTPS_PROXY": "P:3128", "NO_PROXY": "gateway.test:443"}, "http://P:3128"),
        ("wss://Gateway.TEST:8443/", {"HTTPS_PROXY": "p:3128", "NO_PROXY": ".Test:8443"}, None),
        ("wss://[2001:db8::443]/", {"HTTPS_PROXY": "p:3128", "NO_PROXY": "2001:db8::443"}, None),
        ("wss://[2001:db8::1]/", {"HTTPS_PROXY": "p:3128", "NO_PROXY": "[2001:DB8::1]"}, None),
        ("wss://[2001:db8::1]:8443/", {"HTTPS_PROXY": "p:3128", "NO_PROXY": "[2001:db8::1]:8443"}, None),
        ("wss://10.0.0.1/", {"HTTPS_PROXY": "p:3128", "NO_PROXY": "0.0.1,10.0.0.10"}, "http://p:3128"),
        (URL, {"HTTPS_PROXY": "p:3128", "https_proxy": "q:3128", "NO_PROXY": "*", "no_proxy": "x"}, "http://q:3128"),
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


PROXY = str(Path(__file__).parent.parent / "fakes" / "connect_proxy.py")
PASSWORD = "p@ss:w/ö#%rd"


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[RawGateway, dict[str, str], list[str]]]:
    """A gateway that only a proxy leads to, which is a process; an environment without its URL, and what it said."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gateway.test").configure_cert(context)
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    said: list[str] = []
    async with RawGateway() as gateway, relay(gateway.port, context, None) as tls:
        process = await asyncio.create_subprocess_exec(
            sys.executable, PROXY, str(tls), f"me:{PASSWORD}", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said.append((await process.stdout.readline()).decode().strip())

        async def listen(output: asyncio.StreamReader) -> None:
            while line := await output.readline():
                said.append(line.decode().strip())

        listening = asyncio.create_task(listen(process.stdout))
        try:
            yield gateway, {**kept, "SSL_CERT_FILE": str(folder / "ca.pem"), "HOME": str(folder)}, said
        finally:
            process.kill()
            await process.wait()
            await listening


def bridge(environ: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bridge", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


async def test_a_proxy_that_wants_to_know_who_it_is(tmp_path: Path) -> None:
    """Whatever is in the password, as it has to be written in a URL; in capital letters or small ones."""
    async with behind(tmp_path) as (gateway, environ, said):
        url = f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{said[0]}"
        pairing = await asyncio.to_thread(bridge, environ | {"HTTPS_PROXY": url}, "connect", URL, "--pair")
        assert "remote end closed connection" in pairing.stderr, pairing.stderr  # that of this test knows no pairing
        assert said[1:] == ["CONNECT gateway.test:443 HTTP/1.0 200"]
        done = await asyncio.to_thread(bridge, environ, "connect", URL, "--token", "t", "--save-only")
        assert done.returncode == 0, done.stderr
        looked = await asyncio.to_thread(bridge, environ | {"https_proxy": url}, "doctor")
        assert "ok   gateway" in looked.stdout, looked.stdout
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", stderr=asyncio.subprocess.PIPE, env=environ | {"https_proxy": url}
        )
        try:
            link = await gateway.link(1, 20)
            await link.nth("TOOLS")
        finally:
            process.terminate()
            _, output = await process.communicate()
        assert process.returncode == 0, output
        assert set(said[2:]) == {"CONNECT gateway.test:443 HTTP/1.1 200"}


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("127.0.0.1:no-secret", "is no URL"), ("http://[127.0.0.1:{port}", "is no URL"),
        ("me@127.0.0.1:{port}", "has a user without a password"),
        ("http://127.0.0.1:{port}/no-secret", "has a path"),
    ],
)  # fmt: skip
async def test_a_proxy_that_is_none_is_a_mistake_in_the_configuration(tmp_path: Path, proxy: str, says: str) -> None:
    async with behind(tmp_path) as (_, environ, said):
        done = await asyncio.to_thread(bridge, environ, "connect", URL, "--token", "t", "--save-only")
        assert done.returncode == 0, done.stderr
        environ |= {"HTTPS_PROXY": proxy.format(port=said[0])}
        for command, code in {"run": 2, "doctor": 1, f"connect {URL} --pair": 2, f"connect {URL} --token x": 2}.items():
            done = await asyncio.to_thread(bridge, environ, *command.split())
            assert (done.returncode, f"HTTPS_PROXY: {says}" in done.stdout + done.stderr) == (code, True), done
            assert "no-secret" not in done.stdout + done.stderr and len(done.stderr.splitlines()) < 2


async def test_a_proxy_that_refuses_is_told(tmp_path: Path) -> None:
    async with behind(tmp_path) as (_, environ, said):
        done = await asyncio.to_thread(bridge, environ, "connect", URL, "--token", "t", "--save-only")
        assert done.returncode == 0, done.stderr
        environ |= {"HTTPS_PROXY": f"me:no-secret@127.0.0.1:{said[0]}"}
        pairing = await asyncio.to_thread(bridge, environ, "connect", URL, "--pair")
        assert "407" in pairing.stderr and "no-secret" not in pairing.stderr
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", stderr=asyncio.subprocess.PIPE, env=environ
        )
        assert process.stderr is not None
        text = ""
        try:
            async with asyncio.timeout(20):
                while "the proxy answered 407" not in text and (line := await process.stderr.readline()):
                    text += line.decode()
        finally:
            process.terminate()
            text += (await process.communicate())[1].decode()
        assert "the proxy answered 407" in text and "no-secret" not in text
        assert process.returncode == 0
