"""Log lines: coloured words on a terminal, JSON in a pipe, and files that rotate.

Everything in the house logs through the standard library's `logging`, as the SDKs do;
this module alone decides where the lines go and what they look like. (structlog would
add 35 ms and 4.5 MiB to every start for what two formatters do.) One line a record,
control characters escaped, secrets taken out, trace id and session beside the words.
Fields are given as `extra={...}`.
"""

import logging
import os
import sys
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import orjson

from bus.context import session_key, timestamp, trace_id
from gateway.observability.redaction import Redactor, escape_controls

MAX_FILE_BYTES = 10_000_000
KEPT_FILES = 5
MAX_LINE_CHARS = 16_384

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "telegram", "discord", "aiohttp", "websockets", "mcp",
           "asyncio", "markdown_it")  # fmt: skip
_COLOURS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "critical": "1;31"}


def fields_of(record: logging.LogRecord, redactor: Redactor) -> dict[str, Any]:
    """What is said beside the message: trace id, session, and the record's `extra`."""
    fields: dict[str, Any] = {}
    if trace := trace_id.get():
        fields["trace_id"] = trace
    if session := session_key.get():
        fields["session_key"] = redactor.text(session)
    for name, value in record.__dict__.items():
        if name not in _STANDARD and not name.startswith("_"):
            fields[name] = redactor.value(name, value)
    return fields


def _message(record: logging.LogRecord, redactor: Redactor) -> str:
    try:
        text = record.getMessage()
    except Exception:  # a wrong format string of some library must not lose the line, nor raise into it
        text = str(record.msg)
    return redactor.text(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(escape_controls(_message(record, self._redactor))),
        }
        for name, value in fields_of(record, self._redactor).items():
            line.setdefault(name, _clean(value))
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info))
            line["exception"] = _cut(escape_controls(self._redactor.text(text)))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class ConsoleFormatter(logging.Formatter):
    """Words for people: time, level, message, fields. An exception is one line too, innermost place first."""

    def __init__(self, redactor: Redactor, *, colour: bool) -> None:
        super().__init__()
        self._redactor = redactor
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        clock = timestamp(record.created)[11:19]
        mark = f"\x1b[{_COLOURS.get(level, '0')}m{level:<7}\x1b[0m" if self._colour else f"{level:<7}"
        words = [escape_controls(_message(record, self._redactor))]
        words += [f"{name}={escape_controls(str(value))}" for name, value in fields_of(record, self._redactor).items()]
        if record.exc_info and record.exc_info[1] is not None:
            words.append(escape_controls(self._redactor.text(_short(record.exc_info[1]))))
        return f"{clock} {mark} {_cut(' '.join(words))}"


def _short(error: BaseException) -> str:
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-4:]]
    return f"[{type(error).__name__}: {error}" + (f" at {' < '.join(reversed(places))}]" if places else "]")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + "…"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _cut(escape_controls(value))
    if isinstance(value, dict):
        return {escape_controls(str(key)): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return value


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner can read."""

    def _open(self) -> Any:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, self.mode, encoding=self.encoding, errors=self.errors)


class Logs:
    """The process's logging while it runs; `close` puts back what was there before."""

    def __init__(
        self,
        level: str = "info",
        form: str = "auto",
        *,
        folder: Path | None = None,
        stream: TextIO | None = None,
        redactor: Redactor | None = None,
        screen: bool = True,
    ) -> None:
        """Log to `stream` (stderr) in `form` (auto, console, json), and as JSON into `folder` where given.

        Without `screen` only the file is written: the terminal belongs to somebody else.
        """
        self.redactor = redactor or Redactor()
        self._root = logging.getLogger()
        self._before = (self._root.level, list(self._root.handlers))
        self._chatty = {name: logging.getLogger(name).level for name in _CHATTY}
        self._handlers: list[logging.Handler] = [self._screen(stream or sys.stderr, form)] if screen else []
        if folder is not None:
            self._handlers.append(self._file(folder))
        number = logging.getLevelName(level.upper())
        self._root.handlers = list(self._handlers)
        self._root.setLevel(number)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.NOTSET if number <= logging.DEBUG else logging.WARNING)

    def _screen(self, stream: TextIO, form: str) -> logging.Handler:
        handler = logging.StreamHandler(stream)
        terminal = stream.isatty()
        if form == "json" or (form == "auto" and not terminal):
            handler.setFormatter(JsonFormatter(self.redactor))
        else:
            handler.setFormatter(ConsoleFormatter(self.redactor, colour=terminal and not os.environ.get("NO_COLOR")))
        return handler

    def _file(self, folder: Path) -> logging.Handler:
        for each in (folder.parent, folder):  # `parents` would make the state folder readable by others
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = _PrivateFile(
            folder / "gateway.log", maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="replace"
        )
        handler.setFormatter(JsonFormatter(self.redactor))
        return handler

    def close(self) -> None:
        """Flush, close the files, and restore the former handlers."""
        level, handlers = self._before
        self._root.setLevel(level)
        self._root.handlers = handlers
        for name, before in self._chatty.items():
            logging.getLogger(name).setLevel(before)
        for handler in self._handlers:
            handler.close()
