"""A certificate that is renewed while the house runs."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from tests.gateway.edge.harness import running


def write(folder: Path, authority: trustme.CA, name: str) -> bytes:
    """A fresh pair for `name`, and its certificate as a client is shown it."""
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def shown(port: int) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.transport.abort()


async def test_a_renewed_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.server.CERTIFICATE_SECONDS", 0.05)
    authority = trustme.CA()
    first = write(tmp_path, authority, "one.example")
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    async with running(tmp_path / "home", server={"tls": tls}) as gateway:
        assert await shown(gateway.port) == first
        (tmp_path / "key.pem").write_text("half a pair")
        await asyncio.sleep(0.2)
        assert await shown(gateway.port) == first
        second = write(tmp_path, authority, "two.example")
        async with asyncio.timeout(5):
            while await shown(gateway.port) != second:
                await asyncio.sleep(0.05)
