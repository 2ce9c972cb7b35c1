"""How many tokens a text has, roughly: for budgets and windows, where no provider counted.

No tokenizer: theirs are downloads, and each model has another. Measured against o200k the estimate is within a
quarter for English, Chinese and code: four ASCII characters, two of other alphabets, or one CJK character a token.
"""

from collections.abc import Sequence

import orjson

from bus.events import JsonObject

MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1_000


def estimate_text(text: str) -> int:
    """Tokens of a text. Linear, and at the speed of an encoder."""
    if text.isascii():
        return (len(text) + 3) // 4
    plain = len(text.encode("ascii", "ignore"))
    other_characters = len(text) - plain
    other_bytes = len(text.encode("utf-8", "surrogatepass")) - plain
    # 2, 3, 4 bytes a character: half, one, one and a half tokens.
    return (plain + 3) // 4 + (other_bytes - other_characters + 1) // 2


def estimate_message(message: JsonObject) -> int:
    """Tokens of one Chat Completions message, its tool calls included."""
    content = message.get("content")
    count = MESSAGE_TOKENS
    if isinstance(content, str):
        count += estimate_text(content)
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, dict) else None
            count += estimate_text(text) if isinstance(text, str) else IMAGE_TOKENS
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        count += MESSAGE_TOKENS + estimate_text(str(function.get("name", "")) + str(function.get("arguments", "")))
    return count


def estimate_messages(messages: Sequence[JsonObject]) -> int:
    """Tokens of a whole prompt, without its tools."""
    return sum(map(estimate_message, messages))


def estimate_tools(tools: Sequence[JsonObject]) -> int:
    """Tokens of the tools of a request."""
    return len(orjson.dumps(list(tools))) // 4 if tools else 0
