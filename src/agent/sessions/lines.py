"""Records and heads as lines of JSON, and back.

Below it only orjson. A line starts `{"seq":N,"type":"T",...`, so that a reader can
pass over what it doesn't want without parsing it. A text that no UTF-8 can hold (a
lone surrogate) is refused in what a person sends, and mended in what a model or a
tool made: neither may poison a file.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

from agent.ports.sessions import Record, SessionHead
from agent.sessions.records import FORMAT_VERSION, MESSAGE
from bus.errors import BadParameters, Conflict
from bus.events import JsonObject
from bus.keys import SessionKey

PREFIX = re.compile(rb'\{"seq":(\d{1,18}),"type":"([a-z._]{1,40})"')
_OWN = frozenset({"seq", "type", "timestamp"})
_LONE = re.compile("[\ud800-\udfff]")
_NOISE = b"\0 \t\r"


class NewerFormat(Conflict):
    """A file was written by a newer version of this program."""

    def __init__(self, version: object) -> None:
        super().__init__(
            f"the session file has format {version}, this version of the gateway reads up to {FORMAT_VERSION}: "
            "start a newer gateway"
        )


class OtherKey(ValueError):
    """A file's first line names another session than the one it was looked for."""


def encode(record: Record) -> bytes:
    """One record as JSON without the line's end. Raises BadParameters for what JSON or UTF-8 can't hold."""
    data = record.data
    if not _OWN.isdisjoint(data):
        raise BadParameters("a record's data may not hold seq, type or timestamp")
    line: JsonObject = {"seq": record.seq, "type": record.type, "timestamp": record.timestamp, **data}
    try:
        return orjson.dumps(line)
    except TypeError:
        if record.type == MESSAGE:
            raise BadParameters("the message holds a character that is no Unicode text") from None
        return _encode_mended(line)


def encoded(record: Record) -> tuple[bytes, Record]:
    """The line of a record, and the record as the line has it. Raises BadParameters."""
    line = encode(record)
    if b"\xef\xbf\xbd" in line or b"\\u" in line:
        return line, decode(line) or record
    return line, record


def _encode_mended(line: JsonObject) -> bytes:
    try:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        return _LONE.sub("\ufffd", text).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadParameters(f"not storable as JSON: {type(error).__name__}") from None


def decode(line: bytes) -> Record | None:
    """The record of a line, None for anything else (a head, garbage, NULs)."""
    found = parse(line)
    return None if found is None else record_of(found)


def record_of(found: JsonObject) -> Record | None:
    """The record that an object of JSON is, None where it is none."""
    data = dict(found)
    seq, kind, moment = data.pop("seq", None), data.pop("type", None), data.pop("timestamp", "")
    if type(seq) is not int or not isinstance(kind, str) or not isinstance(moment, str):
        return None
    return Record(seq, kind, moment, data)


def parse(line: bytes) -> JsonObject | None:
    """A line that is one JSON object, None for anything else."""
    try:
        found: Any = orjson.loads(line.strip(_NOISE))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def head_line(head: SessionHead) -> bytes:
    """The first line of a session's file, with its end."""
    line: JsonObject = {
        "type": "session", "version": FORMAT_VERSION, "session_key": head.key.text, "scope": head.key.scope,
        "agent_id": head.agent_id, "channel": head.channel, "peer_id": head.peer_id, "owner": head.owner,
        "created_at": head.created_at,
    }  # fmt: skip
    if head.title:
        line["title"] = head.title
    if not head.listed:
        line["listed"] = False
    if head.settings:
        line["settings"] = head.settings
    try:
        return orjson.dumps(line) + b"\n"
    except TypeError:
        raise BadParameters("the session's description holds a character that is no Unicode text") from None


def read_head(line: bytes, expected: SessionKey | None = None) -> SessionHead | None:
    """The head in a first line; None where it is none.

    Raises NewerFormat for a later format, OtherKey where the file is another session's.
    """
    found = parse(line)
    if found is None or found.get("type") != "session":
        return None
    version = found.get("version")
    if version != FORMAT_VERSION:
        if isinstance(version, int) and version < FORMAT_VERSION:
            return None
        raise NewerFormat(version)
    try:
        key = SessionKey(found["session_key"], found.get("scope", ""))
        head = SessionHead(
            key=key, agent_id=found["agent_id"], channel=found["channel"], peer_id=found["peer_id"],
            owner=found["owner"], created_at=found["created_at"], title=found.get("title", ""),
            listed=found.get("listed", True), settings=found.get("settings", {}),
        )  # fmt: skip
    except KeyError:
        return None
    if expected is not None and key != expected:
        raise OtherKey(f"the file of another session: {key.text!r}")
    return head


def joined(lines: Iterable[bytes]) -> bytes:
    """Lines as they stand in a file."""
    return b"".join(line + b"\n" for line in lines)
