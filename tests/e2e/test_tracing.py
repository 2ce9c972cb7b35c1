"""One trace from the platform's message to the person's own computer and back, and in what he is told of an error."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.bridge.test_app import BridgeProcess
from tests.channels.rig import until
from tests.e2e.gateway_process import ALICE, Client, gateway_process
from tests.fakes.collector import collector, spans_of
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.telegram_server import FakeTelegram

EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")


async def test_one_trace_from_telegram_to_the_laptop(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    async with collector() as (endpoint, got), FakeTelegram() as telegram, OpenAIServer() as model:
        configuration: dict[str, Any] = {
            "models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "m"}],
            "agent": {"mode": "single"},
            "tracing": {"endpoint": endpoint},
            "channels": {"telegram": {"enabled": True, "token": telegram.token, "base_url": telegram.url,
                                      "allow_from": ["42"]}},
        }  # fmt: skip
        async with gateway_process(tmp_path / "home", configuration) as gateway:
            laptop = BridgeProcess(tmp_path / "laptop", gateway.url.replace("http", "ws", 1) + "/tunnel", ALICE)
            laptop.write({"effects": {"command": sys.executable, "args": [EFFECTS, str(effects)]}})
            laptop.start()
            try:
                async with Client(gateway.ws) as client:
                    async with asyncio.timeout(20):
                        while "effects_append_line" not in str(await client.call("tools.list")):
                            await asyncio.sleep(0.05)
                    code = (await client.call("identity.link"))["code"]
                telegram.world.person_says(42, f"/link {code}")
                await until(lambda: telegram.world.visible(42))
                telegram.world.person_says(42, '!tool effects_append_line {"line": "CANARYTEXT"}')
                await until(lambda: any("appended CANARYTEXT" in text for text in telegram.world.visible(42)))
                telegram.world.person_says(42, "!status 400")
                failed = await until(lambda: [t for t in telegram.world.visible(42) if "⚠️" in t])
                assert await gateway.stop() == 0
            finally:
                await laptop.stop()
    spans = spans_of(got)
    (tool,) = [span for span in spans if span.name == "execute_tool effects_append_line"]
    trace = [span for span in spans if span.trace_id == tool.trace_id]
    names = [span.name for span in trace]
    assert {"invoke_agent", "chat main", "execute_tool effects_append_line", "tunnel.call"} <= set(names)
    told = {span.name: {a.key: a.value.string_value for a in span.attributes} for span in trace}
    ways = {
        a.value.string_value for s in trace if s.name == "channel" for a in s.attributes if a.key == "busgate.direction"
    }
    assert ways == {"in", "out"}
    assert told["tunnel.call"]["busgate.bridge"] and told["channel"]["busgate.channel"] == "telegram"
    (tunnel,) = [span for span in trace if span.name == "tunnel.call"]
    (turn,) = [span for span in trace if span.name == "invoke_agent"]
    assert tunnel.parent_span_id == tool.span_id and tool.parent_span_id == turn.span_id
    # what was said and done is in no span
    assert b"CANARYTEXT" not in b"".join(got)
    # the bridge's own audit speaks of the same trace
    audit = [json.loads(line) for line in (tmp_path / "laptop" / "audit.jsonl").read_text().splitlines()]
    assert tool.trace_id.hex() in {record.get("trace_id") for record in audit}
    # and the person can name the one that went wrong
    shown = re.search(r"[0-9a-f]{32}", failed[0])
    assert shown is not None and bytes.fromhex(shown[0]) in {s.trace_id for s in spans if s.name == "invoke_agent"}
