"""Exit codes that differed."""

from pathlib import Path

import pytest

from tests.e2e.gateway_process import GatewayProcess


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "garbage"])
async def test_an_address_that_is_none_is_a_mistake_in_the_usage(tmp_path: Path, url: str) -> None:
    code, out, error = await GatewayProcess(tmp_path).command("chat", "--url", url, "hello")
    assert (code, out) == (2, "") and url in error
