"""JSON with comments and trailing commas, as VS Code and people write it, made readable for YAML and JSON. Pure.

Every character keeps its place, so that errors still name the right line and column.
"""

import re

_PARTS = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])|\t', re.DOTALL)


def looks_like_json(text: str) -> bool:
    """Whether a document is an object of JSON rather than YAML: its first sign is `{`, or a comment before it."""
    return re.match(r"\ufeff?(?:\s|//[^\n]*\n|/\*.*?\*/)*\{", text, re.DOTALL) is not None


def plain_json(text: str) -> str:
    """The same text with comments, trailing commas and tabs outside of strings replaced by spaces."""
    return _PARTS.sub(lambda part: part[0] if part[0].startswith('"') else re.sub(r"[^\n\r]", " ", part[0]), text)
