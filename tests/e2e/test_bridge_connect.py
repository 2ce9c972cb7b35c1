"""`ai-bridge connect` at a computer that is connected already: a token that is refused replaces none that worked."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.bridge.test_app import BridgeProcess
from tests.e2e.gateway_process import ALICE, BOB, Client, GatewayProcess, gateway_process
from tests.e2e.test_first_five_minutes import bridge, done
from tests.fakes.raw_gateway import RawGateway
from tests.fakes.tunnel_rig import until


def files(folder: Path) -> tuple[str, str]:
    return (folder / "config.yaml").read_text(), (folder / "secrets.yaml").read_text()


@asynccontextmanager
async def connected(tmp_path: Path) -> AsyncIterator[tuple[GatewayProcess, str, Path]]:
    """A gateway, its tunnel's address, and the folder of a computer that has a good token for it."""
    async with gateway_process(tmp_path / "home") as gateway:
        url = gateway.url.replace("http", "ws", 1) + "/v1/tunnel"
        tmp_path.joinpath("laptop").mkdir()
        code, said = await done(await bridge(tmp_path / "laptop", "connect", url, "--token", ALICE, "--save-only"))
        assert code == 0, said
        yield gateway, url, tmp_path / "laptop" / ".ai-bridge"


@pytest.mark.parametrize("more", [[], ["--save-only"]], ids=["stay connected", "save only"])
async def test_a_token_that_is_refused_is_not_written(tmp_path: Path, more: list[str]) -> None:
    async with connected(tmp_path) as (gateway, url, folder):
        before = files(folder)
        _, chat_only, _ = await gateway.command("token", "create", "--user", "eve", "--role", "user", "--scope", "chat")
        tokens = {"wrong": "the gateway does not accept the token", chat_only.split()[-1]: "may not open a tunnel"}
        for token, reason in tokens.items():
            code, said = await done(await bridge(folder.parent, "connect", url, "--token", token, *more))
            assert (code, reason in said, "the one before stays" in said) == (3, True, True), said
            assert files(folder) == before
        code, said = await done(await bridge(folder.parent, "connect", url, "--token", BOB, "--save-only"))
        assert code == 0 and BOB in files(folder)[1], said


async def test_a_gateway_that_says_no_in_the_tunnel_only(tmp_path: Path) -> None:
    """Where nothing but the tunnel leads to the gateway: what was there before comes back."""
    raw = RawGateway()
    await raw.start()
    (tmp_path / ".ai-bridge").mkdir()
    first = await bridge(tmp_path, "connect", raw.url, "--token", "good", "--save-only")
    assert (await done(first))[0] == 0
    before = files(tmp_path / ".ai-bridge")
    second = await bridge(tmp_path, "connect", raw.url, "--token", "wrong", "--name", "other")
    link = await raw.link(0)
    await link.frame("AUTH")
    await link.socket.close(4501, "no such token")
    code, said = await done(second)
    assert (code, "the one before stays" in said) == (3, True), said
    assert files(tmp_path / ".ai-bridge") == before
    await raw.stop()


async def test_a_bridge_that_runs_keeps_its_link_with_the_token_that_worked(tmp_path: Path) -> None:
    """A mistake in the secrets, while it runs, is told, and the last good token stays in force."""
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as client:
        laptop = BridgeProcess(tmp_path / "laptop", gateway.url.replace("http", "ws", 1) + "/v1/tunnel", ALICE)
        laptop.write({})
        laptop.start()
        try:
            await until(lambda: laptop.status().get("link", {}).get("state") == "connected")
            secrets = tmp_path / "laptop" / "secrets.yaml"
            good = secrets.read_text()
            secrets.write_text("TOKEN: wrong\n")
            await until(lambda: "the new token is not used" in laptop.output, 10)
            async with asyncio.timeout(10):
                while not [one for one in (await client.call("bridge.list"))["bridges"] if one["connected"]]:
                    await asyncio.sleep(0.05)
            secrets.write_text(good)
            await asyncio.sleep(1.5)
            assert laptop.process is not None and laptop.process.poll() is None, laptop.output
            os.kill(laptop.process.pid, signal.SIGTERM)
            assert await asyncio.to_thread(laptop.process.wait, 10) == 0
        finally:
            await laptop.stop()
