"""Bytes of a pipe into lines: linear in their number, bounded in memory. Pure."""

from bridge.servers.link import Incoming, Line, TooLong

MAX_LINE = 64 * 1024 * 1024
_KEPT = 4096


class LineBuffer:
    """Collects chunks until a newline; a line above `limit` bytes is thrown away but for its ends."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._start = b""
        self._tail = b""

    def feed(self, chunk: bytes) -> list[Incoming]:
        """The lines that `chunk` completes, without newline; empty ones are dropped."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        result = self._finish()
        last = rest.pop()
        result += [Line(line) for line in (part.rstrip(b"\r") for part in rest) if line]
        if last:
            self._keep(last)
        return result

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= self._limit:
            self._parts.append(chunk)
            return
        if self._parts:
            self._start = b"".join(self._parts)[:_KEPT]
            self._parts.clear()
        elif not self._start:
            self._start = chunk[:_KEPT]
        self._tail = (self._tail + chunk[-_KEPT:])[-_KEPT:]

    def _finish(self) -> list[Incoming]:
        size, self._size = self._size, 0
        if size > self._limit:
            result: list[Incoming] = [TooLong(self._start, self._tail, size)]
            self._start = self._tail = b""
            return result
        line = (self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)).rstrip(b"\r")
        self._parts.clear()
        return [Line(line)] if line else []


class Tail:
    """The last lines of a server's stderr, for error texts, with the known secrets masked."""

    def __init__(self, secrets: tuple[str, ...] = (), *, lines: int = 20, width: int = 500) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 6)
        self._lines: list[str] = []
        self._most = lines
        self._width = width
        self._open = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` completes, clean and cut, and kept."""
        *lines, rest = (self._open + chunk).split(b"\n")
        if len(rest) > 4 * self._width:
            lines.append(rest)
            rest = b""
        self._open = rest
        clean = [text for text in (self.clean(line) for line in lines) if text]
        self._lines = [*self._lines, *clean][-self._most :]
        return clean

    def clean(self, line: bytes) -> str:
        """Printable, one line, without secrets, cut."""
        text = line[: 8 * self._width].decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = "".join(c if c.isprintable() else " " for c in text).strip()
        return text if len(text) <= self._width else text[: self._width] + "…"

    def last(self, count: int = 3) -> str:
        """The last lines as one text, '' where there were none."""
        lines = [*self._lines, self.clean(self._open)] if self._open else self._lines
        return " | ".join(line for line in lines[-count:] if line)
