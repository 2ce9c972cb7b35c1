"""Whether a result has the shape its method promises. Pure; payloads are looked at, never rebuilt."""

from bridge.errors import ToolResultInvalid
from bridge.servers.jsonrpc import JsonObject

_SHAPES = {"tools/call": "content", "resources/read": "contents", "prompts/get": "messages"}


def check_result(method: str, result: JsonObject) -> None:
    """Raises ToolResultInvalid, effect `done`: the tool has run, whatever it answered."""
    key = _SHAPES.get(method)
    if key is None:
        return
    blocks = result.get(key)
    if blocks is None and method == "tools/call" and isinstance(result.get("structuredContent"), dict):
        return
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ToolResultInvalid(f"the result of {method} has no valid '{key}'", effect="done")
    if method == "tools/call" and not all(isinstance(block.get("type"), str) for block in blocks):
        raise ToolResultInvalid("a block of the result has no type", effect="done")
