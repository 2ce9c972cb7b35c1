"""The commands beside a running gateway."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.e2e.gateway_process import GatewayProcess, gateway_process


async def test_chat_at_the_address_of_the_own_gateway_needs_no_token(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway:
        for address in (gateway.ws, gateway.ws.removesuffix("/ws"), gateway.ws.replace("127.0.0.1", "localhost")):
            code, out, error = await gateway.command("chat", "--url", address, "hello")
            assert code == 0 and out.startswith("Hello"), error
        other = gateway.ws.replace(gateway.url.rsplit(":", 1)[1], "9")
        code, _, error = await gateway.command("chat", "--url", other, "hello")
        assert code == 1 and "cannot reach" in error


async def test_the_admin_token_is_shown_to_no_other_gateway(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "one") as one, gateway_process(tmp_path / "two") as two:
        code, _, error = await one.command("chat", "--url", two.ws, "hello")
        assert code == 1 and "1001" in error
        assert "no valid token" in error


async def test_a_folder_that_others_can_list_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    async with gateway_process(tmp_path / "home") as gateway:
        assert (await gateway.command("token", "create", "--user", "u", "--role", "user"))[0] == 0
        code, out, _ = await gateway.command("doctor", "--json")
        found = {check["name"]: check for check in json.loads(out)["checks"]}
        assert code == 0 and found["permissions"]["state"] == "warning" and "chmod 700" in found["permissions"]["next"]


async def test_questions_asked_at_the_same_time_share_the_gateway_that_one_of_them_starts(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "test.yaml").write_text("server: {port: 0}\n")
    asked = [gateway.command("chat", "--session", f"s{n}", f"number {n}", seconds=60) for n in range(3)]
    for number, (code, out, error) in enumerate(await asyncio.gather(*asked)):
        assert (code, error) == (0, "") and f"number {number}" in out


async def test_a_retry_says_nothing_on_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever logging library is installed beside us: what is printed is the answer, or events."""
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "structlog.py").write_text(
        "class Logger:\n    def warning(self, *said, **more):\n        print(said, more)\n\n"
        "def get_logger(*_, **__):\n    return Logger()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'installed'}{os.pathsep}{os.environ['PYTHONPATH']}")
    gateway = GatewayProcess(tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "test.yaml").write_text(
        "models: [{name: main, base_url: 'http://127.0.0.1:9/v1', api_key: k, model: m}]\n"
    )
    code, out, error = await gateway.command("chat", "hello")
    assert (code, out) == (1, "") and len(error.splitlines()) == 1 and "(2003" in error
    _, out, _ = await gateway.command("chat", "--json", "hello")
    types = [json.loads(line)["type"] for line in out.splitlines()]
    assert (types[0], types[-1]) == ("chat.started", "chat.error")
