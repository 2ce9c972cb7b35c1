"""The commented examples: as they are they say nothing, with every block uncommented they load."""

import re
from pathlib import Path

import pytest

from bridge.configuration import References, expand, load_text, validate
from bridge.settings import BridgeSettings, source_location
from gateway.settings import GatewaySettings, load_settings

CONFIG = Path(__file__).resolve().parents[3] / "config"
ENVIRONMENT = {
    "ALICE_TOKEN": "a-long-enough-token", "OPENAI_API_KEY": "sk", "WEATHER_KEY": "w", "TELEGRAM_BOT_TOKEN": "1:a",
    "DISCORD_BOT_TOKEN": "d", "FEISHU_APP_ID": "f", "FEISHU_APP_SECRET": "s", "AI_BRIDGE_TOKEN": "t", "KEY": "k",
    "WIKI_TOKEN": "w",
}  # fmt: skip


def blocks(name: str) -> list[str]:
    """The commented blocks of an example, uncommented; prose has no key in column one."""
    text = (CONFIG / name).read_text(encoding="utf-8")
    found = re.split(r"(?m)^(?=# [a-z_]+:(?:\s|$))", text)[1:]
    return [re.sub(r"(?m)^# ?", "", block) for block in found]


@pytest.mark.parametrize("name", ["gateway.yaml", "bridge.yaml"])
def test_everything_is_commented_out(name: str):
    assert load_text((CONFIG / name).read_text(encoding="utf-8"), name).data == {}


def test_as_it_is_it_equals_no_file(tmp_path: Path):
    environ = {"HOME": str(tmp_path)}
    assert load_settings(CONFIG / "gateway.yaml", environ).settings == GatewaySettings()


def test_every_section_of_the_gateway_is_shown(tmp_path: Path):
    names = {block.split(":")[0] for block in blocks("gateway.yaml")}
    assert names == set(GatewaySettings.model_fields)


@pytest.mark.parametrize(
    "block", [b for b in blocks("gateway.yaml") if not b.startswith("bindings")], ids=lambda b: str(b).split(":")[0]
)
def test_each_block_of_the_gateway_loads(tmp_path: Path, block: str):
    path = tmp_path / "config.yaml"
    path.write_text(block)
    load_settings(path, {"HOME": str(tmp_path), **ENVIRONMENT})


def test_all_blocks_of_the_gateway_together_load(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("".join(blocks("gateway.yaml")))
    settings = load_settings(path, {"HOME": str(tmp_path), **ENVIRONMENT}).settings
    examples = {"models", "mcp_servers", "auth", "speech_to_text", "channels", "agents", "bindings", "tracing"}
    plain, default = settings.model_dump(exclude=examples), GatewaySettings().model_dump(exclude=examples)
    assert plain == default, "the values shown are the defaults"
    assert settings.models[0].model == "gpt-5" and settings.auth.tokens[0].user == "alice"


def test_all_blocks_of_the_bridge_load(tmp_path: Path):
    document = load_text("".join(blocks("bridge.yaml")), "bridge.yaml")
    expand(document, References(ENVIRONMENT, tmp_path))
    settings = validate(document, BridgeSettings, locate=source_location)
    assert [server.name for server in settings.mcp_servers] == ["fs", "wiki"]
    assert {block.split(":")[0] for block in blocks("bridge.yaml")} == set(BridgeSettings.model_fields)
