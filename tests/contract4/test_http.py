"""HTTP as nobody should speak it: answered as the contract says, logged without a word of it."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.gateway_process import ALICE, GatewayProcess, gateway_process

CANARY = "canary-0123456789abcdef"
HEADS = [
    f"GET /status HTTP/1.1\r\nAuthorization: Bearer {CANARY}\x00\r\n",
    f"GET /status HTTP/1.1\r\nX-Api-Key: {CANARY}{'x' * 9000}\r\n",
    f"GET /{CANARY}\x00 HTTP/1.1\r\n",
    f"POST /api/v1/rpc HTTP/1.1\r\nAuthorization: Bearer {ALICE}\r\nTransfer-Encoding: chunked\r\n\r\nzz{CANARY}\r\n",
]


async def _raw(gateway: GatewayProcess, text: str) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
    line, rest = text.split("\r\n", 1)
    writer.write(f"{line}\r\nHost: 127.0.0.1\r\n{rest}\r\n".encode())
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode(), body


@pytest.mark.attack(15)
@pytest.mark.attack(84)
async def test_what_is_no_http_gets_an_error_like_every_other_and_is_repeated_nowhere(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home", {"logging": {"level": "debug"}}) as gateway:
        for text in HEADS:
            head, body = await _raw(gateway, text)
            assert head.split()[1] == "400" and "Server: gateway" in head and "nosniff" in head
            error = json.loads(body)["error"]
            assert (error["code"], error["retryable"]) == (1000, False) and error["trace_id"]
            assert CANARY not in head + body.decode()
        logs = "".join(path.read_text() for path in (gateway.home / "logs").rglob("*.log"))
        logs += "".join(gateway.output)
        assert CANARY not in logs and "Traceback" not in logs and "no proper HTTP request" in logs


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_fault_of_the_gateway(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
        writer.write(f"POST /api/v1/rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ALICE}\r\n".encode())
        writer.write(b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.2)
        assert await gateway.stop() == 0
        assert not [line for line in gateway.output if "Traceback" in line or "rror handling" in line]


@pytest.mark.attack(27)
@pytest.mark.parametrize("name", ["a" * 9000, "a\x01"], ids=["too long", "control character"])
async def test_a_part_whose_head_is_malformed_is_the_senders_fault(tmp_path: Path, name: str) -> None:
    body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nhi\r\n--b--\r\n'
    headers = {"Authorization": f"Bearer {ALICE}", "Content-Type": "multipart/form-data; boundary=b"}
    async with (
        gateway_process(tmp_path / "home") as gateway, aiohttp.ClientSession(headers=headers) as http,
        http.post(gateway.url + "/api/v1/media", data=body.encode()) as response,
    ):  # fmt: skip
        assert response.status == 400
        assert (await response.json())["error"]["code"] == 1000
