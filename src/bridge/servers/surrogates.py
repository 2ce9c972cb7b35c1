"""Half characters, and bytes that are none, in JSON. Pure; below `jsonrpc.py`.

JavaScript cuts texts between the two halves of an emoji, and writes the half as an escape (`\\ud83d`), which is good
JSON and no text at all. One such character is no reason to lose an answer, or all tools of a listing.
"""

import re

_ESCAPES = re.compile(
    rb"\\\\"  # a backslash: what follows it is no escape
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole character
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def whole_characters(line: bytes) -> bytes:
    """The JSON text with the mark for what can't be read (U+FFFD) in the place of each half."""
    if b"\\ud" not in line and b"\\uD" not in line:
        return line
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], line)


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
