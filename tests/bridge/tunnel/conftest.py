"""A real bridge against a gateway that a test plays."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridge.settings import PolicySettings, ToolSettings
from tests.fakes.raw_gateway import Link, RawGateway
from tests.fakes.tunnel_rig import BridgeRig

Begin = Callable[..., Coroutine[Any, Any, tuple[BridgeRig, Link]]]


@pytest.fixture
async def raw() -> AsyncIterator[RawGateway]:
    gateway = RawGateway()
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def begin(raw: RawGateway, tmp_path: Path) -> AsyncIterator[Begin]:
    """Start a bridge and welcome it: `bridge, link = await begin(rules={…}, policy={…})`."""
    async with AsyncExitStack() as stack:

        async def one(rules: Any = None, policy: Any = None) -> tuple[BridgeRig, Link]:
            bridge = BridgeRig(
                tmp_path / "bridge", raw.url, "token",
                rules=None if rules is None else ToolSettings.model_validate(rules),
                policy=None if policy is None else PolicySettings.model_validate(policy),
            )  # fmt: skip
            number = len(raw.links)
            await bridge.start()
            stack.push_async_callback(bridge.stop)
            link = await raw.link(number)
            await link.welcome()
            await link.frame("TOOLS")
            return bridge, link

        yield one
