"""A cloud MCP server that wants OAuth: the operator opens an address once, tokens are kept, refreshed, and lost."""

import asyncio
import contextlib
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.gateway_process import Client, GatewayProcess, Refused, gateway_process

SERVER = str(Path(__file__).parent.parent / "fakes" / "oauth_mcp_server.py")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


@asynccontextmanager
async def vault(port: int, seconds: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, SERVER, str(port), str(seconds), stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def status(gateway: GatewayProcess) -> dict[str, Any]:
    token = next(gateway.home.glob("admin*")).read_text().strip()
    async with (
        aiohttp.ClientSession() as session,
        session.get(gateway.url + "/status", headers={"Authorization": f"Bearer {token}"}) as response,
    ):
        return dict((await response.json())["mcp_servers"][0])


async def address(gateway: GatewayProcess) -> str:
    async with asyncio.timeout(20):
        while "sign_in" not in (found := await status(gateway)):
            await asyncio.sleep(0.1)
    return str(found["sign_in"])


async def available(client: Client) -> None:
    async with asyncio.timeout(20):
        while not any(t["name"] == "vault_secret_word" and t["available"]
                      for t in (await client.call("tools.list"))["tools"]):  # fmt: skip
            await asyncio.sleep(0.1)


async def test_the_operator_signs_in_once(tmp_path: Path) -> None:
    port = free_port()
    home = tmp_path / "home"
    server = {"name": "vault", "url": f"http://127.0.0.1:{port}/mcp", "sign_in": True}
    async with vault(port, 2), gateway_process(home, {"mcp_servers": [server]}) as gateway:
        where = await address(gateway)
        assert any(where in line for line in gateway.output)
        async with aiohttp.ClientSession() as browser:
            async with browser.get(gateway.url + "/oauth/callback?code=x&state=forged") as forged:
                assert forged.status == 404
            async with browser.get(where) as page:  # agrees at once, and is sent back here
                assert (page.status, page.url.path) == (200, "/oauth/callback")
                back = str(page.url)
            async with browser.get(back) as again:
                assert again.status == 404
        async with Client(gateway.ws) as client:
            await available(client)
            assert (await client.call("tools.call", name="vault_secret_word", arguments={}))["content"][0]["text"]
            files = [file for file in (home / "mcp" / "tokens").iterdir() if file.is_file()]
            assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
            kept = files[0].read_text()
            await asyncio.sleep(2.2)  # the access token is over: it is refreshed without asking
            result = await client.call("tools.call", name="vault_secret_word", arguments={})
            assert result["content"][0]["text"] == "swordfish"
            assert files[0].read_text() != kept
        assert "sign_in" not in await status(gateway)
        await gateway.stop()
        await asyncio.sleep(2.2)
        await gateway.start()  # on another port, with an access token that is over
        async with Client(gateway.ws) as client:
            await available(client)
            assert (await client.call("tools.call", name="vault_secret_word", arguments={}))["is_error"] is False
        assert "sign_in" not in await status(gateway)
        assert "canary-" not in "".join(gateway.output)


async def test_tokens_that_are_refused_are_asked_for_again(tmp_path: Path) -> None:
    port = free_port()
    server = {"name": "vault", "url": f"http://127.0.0.1:{port}/mcp", "sign_in": {"scopes": ["read"]}}
    async with gateway_process(tmp_path / "home", {"mcp_servers": [server]}) as gateway:
        async with vault(port, 3600):
            async with aiohttp.ClientSession() as browser, browser.get(await address(gateway)) as page:
                assert page.status == 200
            async with Client(gateway.ws) as client:
                await available(client)
        async with vault(port, 3600):  # it has forgotten everybody, and the next call finds out
            async with Client(gateway.ws) as client:
                with contextlib.suppress(Refused):
                    await client.call("tools.call", name="vault_secret_word", arguments={})
            where = await address(gateway)
            async with aiohttp.ClientSession() as browser, browser.get(where) as page:
                assert page.status == 200
            async with Client(gateway.ws) as client:
                await available(client)
