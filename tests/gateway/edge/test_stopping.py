"""Stopping: readiness, what is still finished, what goes on after the start, and who is told."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
import trustme
import websockets

from gateway.app import Stop, _why, serve
from gateway.settings import GatewaySettings, Loaded
from tests.fakes.early_signal import signalled_while_importing
from tests.gateway.edge.harness import TOKENS, bearer, running


@pytest.mark.attack(83)
async def test_a_stop_lets_turns_finish_takes_nothing_in_and_says_goodbye(tmp_path: Path) -> None:
    async with (
        running(tmp_path, pace=0.02, limits={"drain_seconds": 10}) as gateway,
        gateway.client() as wire, gateway.client("bob") as other,
    ):  # fmt: skip
        accepted = await wire.call("chat.send_stream", text="count to 60")
        await wire.event("chat.delta")
        gateway.stop.asked.set()
        await asyncio.sleep(0.1)
        async with gateway.http.get(gateway.url + "/ready") as response:
            assert response.status == 503
        async with gateway.http.get(gateway.url + "/health") as response:
            assert response.status == 200
        refused = await other.ask("chat.send", text="hello")
        assert refused["error"]["code"] == 1007 and refused["error"]["data"]["retryable"] is True
        with pytest.raises(websockets.InvalidStatus) as status:
            await websockets.connect(gateway.ws, additional_headers=bearer("alice"), proxy=None)
        assert status.value.response.status_code == 503
        assert (await wire.done(accepted["message_id"]))["type"] == "chat.done"
        assert await wire.close_code() == 1012
        assert await other.close_code() == 1012


@pytest.mark.attack(83)
@pytest.mark.parametrize("drain_seconds", [0.1, 60], ids=["the time was over", "a second signal"])
async def test_what_was_cut_goes_on_after_the_start_without_using_up_an_attempt(
    tmp_path: Path, drain_seconds: float
) -> None:
    limits = {"drain_seconds": drain_seconds}
    async with running(tmp_path, pace=0.02, limits=limits) as gateway, gateway.client() as wire:
        accepted = await wire.call("chat.send_stream", text="count to 40", session_key="s", idempotency_key="once")
        await wire.event("chat.delta")
        gateway.stop.asked.set()
        if drain_seconds > 1:
            gateway.stop.hurry.set()
        assert await wire.close_code() == 1012
        last = wire.events[-1]["seq"]
    async with running(tmp_path) as gateway, gateway.client() as wire:
        answer = await wire.call("chat.send", text="count to 40", session_key="s", idempotency_key="once")
        assert answer["message_id"] == accepted["message_id"] and "40" in answer["text"]
        messages = (await wire.call("chat.history", session_key="s"))["messages"]
        assert [m["role"] for m in messages] == ["user", "assistant"]
        assert messages[1]["seq"] > last
        kept = map(json.loads, (await wire.call("session.export", session_key="s"))["lines"])
        (again,) = [line["seq"] for line in kept if line.get("type") == "turn.started"][1:]
        assert again <= last + 2  # one by one, and no jump as after a crash


@pytest.mark.attack(83)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.parametrize("module", ["gateway.cli.exits", "gateway.settings", "gateway.app", "gateway.composition"])
def test_a_signal_while_it_is_still_being_imported(tmp_path: Path, module: str, number: signal.Signals) -> None:
    done = signalled_while_importing(
        "gateway", module, number, ["run", "--port", "0"], tmp_path, GATEWAY_HOME=str(tmp_path)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.attack(83)
async def test_a_second_signal_is_obeyed_within_two_seconds(tmp_path: Path) -> None:
    environment = os.environ | {"GATEWAY_HOME": str(tmp_path), "GATEWAY__SERVER__PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway"], env=environment, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    )
    assert process.stdout is not None
    lines = []
    while not lines or not lines[-1].startswith("token"):
        lines.append(process.stdout.readline())
    url = lines[1].split()[1].split("/#")[0]
    token = (tmp_path / "admin.token").read_text().strip()
    body = {"jsonrpc": "2.0", "id": 1, "method": "chat.send_stream", "params": {"text": "count to 2000"}}
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(url + "/api/v1/rpc", json=body, headers=headers) as response:
            await response.content.readany()
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert process.poll() is None
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, 10)
    assert (code, time.monotonic() - begun < 2) == (0, True)
    process.stdout.close()


async def test_a_second_gateway_on_the_same_folder_or_port_is_told_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as gateway:
        settings = GatewaySettings.model_validate({"server": {"port": gateway.port}})
        assert await serve(Loaded(settings=settings, source=None, home=tmp_path), print, Stop()) == 1
        assert str(os.getpid()) in capsys.readouterr().err
        other = tmp_path / "other"
        assert await serve(Loaded(settings=settings, source=None, home=other), print, Stop()) == 1
        assert "server.port" in capsys.readouterr().err


def test_a_host_that_nobody_knows_is_named(tmp_path: Path) -> None:
    settings = GatewaySettings.model_validate({"server": {"host": "[::1]", "port": 0}})  # as in an address
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert _why(unknown, Loaded(settings=settings, source=None, home=tmp_path)) == (
        "cannot listen on [::1]:0 (server.host, server.port): name or service not known"
    )


async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with running(tmp_path / "home", server={"tls": {"cert": str(cert), "key": str(key)}}) as gateway:
        assert gateway.url.startswith("https://")
        async with websockets.connect(
            gateway.ws,
            additional_headers=bearer("alice"),
            proxy=None,
            ssl=context,
            origin=gateway.url,
        ) as socket:
            await socket.send('{"jsonrpc":"2.0","id":1,"method":"health"}')
            assert "ok" in str(await socket.recv())
        async with gateway.http.post(
            gateway.url + "/api/v1/login", json={"code": gateway.login_code}, ssl=context
        ) as response:
            assert "Secure" in response.headers["Set-Cookie"]
        assert TOKENS["alice"]
