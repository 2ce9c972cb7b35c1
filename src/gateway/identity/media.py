"""The files that the gateway keeps for its users. Implements `channels.ports.MediaStore` and `agent.ports.MediaReader`.

A file is found by its `media_id` alone, which says nothing about its name and cannot be guessed; the
same bytes under the same name of the same owner get the same id, so that a repeated message stays the
same message. Each has a neighbour `<id>.json` with owner, type and name. Nothing a person gives ever
becomes part of a path. To anyone but its owner a file does not exist. What is kept for a day only has a neighbour
`<id>.passing` too. Which sessions refer to a file, and so when it goes, is known above (`media_uses.py`).
"""

import asyncio
import errno
import hashlib
import hmac
import logging
import mimetypes
import os
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import orjson

from bus.context import timestamp
from bus.errors import BadParameters, NotFound, Overloaded, TooLarge
from bus.events import JsonObject, MediaRef
from gateway.identity.document import NO_LINK, write_private

log = logging.getLogger("gateway.media")

PASSING_SECONDS = 24 * 3600.0
FRESH_SECONDS = 600.0
"""What was saved so lately may be about to be sent: the same file of a session that ends stays for a day."""
_PASSING = ".passing"
_ID = re.compile(r"med_[0-9a-f]{40}\Z")
_MIME = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}\Z")
_NAME_CHARS = 255
_UNKNOWN = "application/octet-stream"
_BY_SUFFIX = {
    ".md": "text/markdown", ".log": "text/plain", ".toml": "text/plain", ".ini": "text/plain",
    ".yaml": "application/yaml", ".yml": "application/yaml",
}  # fmt: skip
"""What the system's table of suffixes does not know everywhere."""


class NoRoom(Overloaded):
    """This user's files fill what is kept for one user. To send it again helps nobody."""

    retryable = False


class MediaFolder:
    """The store in `folder`; `max_bytes` bounds one file, `per_user` all of one user's (0: nothing does)."""

    def __init__(self, folder: Path, *, max_bytes: int, per_user: int = 0) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._per_user = per_user
        self._used: Counter[str] | None = None
        """Bytes by owner, counted when first asked for."""
        self._fresh: dict[str, float] = {}
        """When a file was saved last, monotonic seconds; those of the last minutes."""
        self._salt = b""
        self._writing = threading.Lock()
        """Files come in threads; two at once may be the same file, or the first two, for which the salt is made."""

    async def save(self, data: bytes, *, mime: str, name: str, owner: str, passing: bool = False) -> MediaRef:
        """Keep `data` for `owner`, or for a day after the last time where it is only `passing`.

        Raises TooLarge (1006), NoRoom and Overloaded (1007) where there is no room for him, or the disk refuses.
        """
        if len(data) > self._max_bytes:
            raise TooLarge(f"a file has at most {self._max_bytes} bytes here")
        return await asyncio.to_thread(self._save_alone, data, mime, name, owner, passing)

    def _save_alone(self, data: bytes, mime: str, name: str, owner: str, passing: bool) -> MediaRef:
        with self._writing:
            return self._save(data, mime, name, owner, passing)

    def _save(self, data: bytes, mime: str, name: str, owner: str, passing: bool) -> MediaRef:
        kept_name = clean_name(name)
        kept_mime = clean_mime(mime)
        if kept_mime == _UNKNOWN:
            kept_mime = mime_by_name(kept_name)
        parts = (
            owner.encode(),
            kept_mime.encode(),
            kept_name.encode("utf-8", "replace"),
            hashlib.sha256(data).digest(),
        )
        media_id = "med_" + hmac.new(self._key(), b"\x00".join(parts), hashlib.sha256).hexdigest()[:40]
        path = self._path(media_id)
        ref = MediaRef(media_id=media_id, mime=kept_mime, name=kept_name, size=len(data))
        about, mark = path.with_suffix(".json"), path.with_suffix(_PASSING)
        there = about.exists()
        if not there:
            self._check_room(owner, len(data))
        self._refresh(media_id)
        if passing and (mark.exists() or not there):  # first: what a crash leaves behind goes, too
            write_private(mark, b"")
        elif not passing:
            mark.unlink(missing_ok=True)
        if not there:
            write_private(path, data)
            row: JsonObject = {
                "owner": owner, "mime": kept_mime, "name": kept_name, "size": len(data), "created_at": timestamp(),
                "with_sessions": True,
            }  # fmt: skip
            write_private(about, orjson.dumps(row))
            if self._used is not None:
                self._used[owner] += len(data)
        return ref

    def _check_room(self, owner: str, size: int) -> None:
        if not self._per_user:
            return
        if self._used is None:
            self._used = Counter()
            for about in self._folder.glob("??/med_*.json"):
                row = self._row(about)
                self._used[row.get("owner", "")] += row.get("size", 0)
        if self._used[owner] + size > self._per_user:
            most = self._per_user // 1_048_576
            raise NoRoom(f"the files of one user have {most} MiB here: delete conversations with files, then try again")

    def _row(self, about: Path) -> JsonObject:
        """What is known of a file; nothing where it is gone or unreadable."""
        try:
            row = orjson.loads(self._bytes(about))
        except (NotFound, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    def _refresh(self, media_id: str) -> None:
        now = time.monotonic()
        for old in [each for each, at in self._fresh.items() if at < now - FRESH_SECONDS]:
            del self._fresh[old]
        self._fresh[media_id] = now

    def _key(self) -> bytes:
        if not self._salt:
            path = self._folder / "salt"
            try:
                self._salt = self._bytes(path)
            except NotFound:
                self._salt = secrets.token_bytes(32)
                write_private(path, self._salt)
        return self._salt

    def _path(self, media_id: str) -> Path:
        return self._folder / media_id[4:6] / media_id

    @staticmethod
    def _bytes(path: Path) -> bytes:
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | NO_LINK), "rb") as file:
                return file.read()
        except FileNotFoundError as error:
            raise NotFound("no such file") from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):  # ELOOP, ENOTDIR: something was planted there
                raise NotFound("no such file") from error
            raise Overloaded(f"the disk refused: {error.strerror}") from error

    async def find(self, media_id: str, owner: str) -> MediaRef:
        """What is known of a file. Raises NotFound where it isn't this user's."""
        return await asyncio.to_thread(self._find, media_id, owner)

    def _find(self, media_id: str, owner: str) -> MediaRef:
        if not _ID.match(media_id):
            raise NotFound("no such file")
        row = orjson.loads(self._bytes(self._path(media_id).with_suffix(".json")))
        if row["owner"] != owner:
            raise NotFound("no such file")
        return MediaRef(media_id=media_id, mime=row["mime"], name=row["name"], size=row["size"])

    async def read(self, ref: MediaRef, owner: str) -> bytes:
        """The bytes. Raises NotFound where it isn't this user's."""
        return await asyncio.to_thread(self._read, ref.media_id, owner)

    def _read(self, media_id: str, owner: str) -> bytes:
        self._find(media_id, owner)
        return self._bytes(self._path(media_id))

    async def forget(self, owner: str) -> None:
        """Take all files of `owner` away. Raises OSError."""
        await asyncio.to_thread(self._forget, owner)

    def _forget(self, owner: str) -> None:
        with self._writing:
            for about in self._folder.glob("??/med_*.json"):
                if self._row(about).get("owner") == owner:
                    self._remove(about)

    def claim(self, media_ids: Iterable[str]) -> None:
        """A session refers to these from now on: none is passing any more. Raises NotFound where one is gone.

        Blocks, as the two below.
        """
        with self._writing:
            for about in self._abouts(media_ids):
                if not about.exists():
                    raise NotFound("no such file")
                about.with_suffix(_PASSING).unlink(missing_ok=True)
                self._fresh.pop(about.stem, None)

    def let_pass(self, media_ids: Iterable[str]) -> None:
        """Keep these for a day more. Raises OSError."""
        with self._writing:
            for about in self._abouts(media_ids):
                if about.exists():
                    write_private(about.with_suffix(_PASSING), b"")

    def remove(self, media_ids: Iterable[str]) -> None:
        """The sessions that referred to these are gone. Raises OSError."""
        with self._writing:
            for about in self._abouts(media_ids):
                if not self._row(about).get("with_sessions"):
                    continue  # of before it was written down who refers to it
                if time.monotonic() - self._fresh.get(about.stem, -FRESH_SECONDS) < FRESH_SECONDS:
                    write_private(about.with_suffix(_PASSING), b"")
                else:
                    self._remove(about)

    def _abouts(self, media_ids: Iterable[str]) -> list[Path]:
        return [self._path(each).with_suffix(".json") for each in media_ids if _ID.match(each)]

    def _remove(self, about: Path) -> None:
        """The mark last: a removal that is broken off goes on with it the next time."""
        if self._used is not None and (row := self._row(about)):
            self._used[row.get("owner", "")] -= row.get("size", 0)
        for path in (about.with_suffix(""), about, about.with_suffix(_PASSING)):
            path.unlink(missing_ok=True)

    async def sweep(self, now: float | None = None) -> int:
        """Take away what was only passing and not seen for a day; how many. `now` in seconds since the epoch."""
        return await asyncio.to_thread(self._sweep, (time.time() if now is None else now) - PASSING_SECONDS)

    def _sweep(self, before: float) -> int:
        gone = 0
        for mark in self._folder.glob(f"??/med_*{_PASSING}"):
            try:
                with self._writing:
                    if mark.stat().st_mtime < before:
                        self._remove(mark.with_suffix(".json"))
                        gone += 1
            except OSError as error:  # one that can't be taken away keeps no other
                log.warning("a file that was only passing stays: %s", error.strerror)
        return gone


def clean_name(name: str) -> str:
    """A name for people: the last part of a path, printable, never empty."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable()).strip(". ")[:_NAME_CHARS]
    return kept or "file"


def clean_mime(mime: str) -> str:
    """The type without parameters. Raises BadParameters where it is none."""
    kept = mime.partition(";")[0].strip().lower()
    if not kept:
        return _UNKNOWN
    if not _MIME.match(kept):
        raise BadParameters("a media type is written type/subtype")
    return kept


def mime_by_name(name: str) -> str:
    """The type that a name speaks of: many clients send a file of any kind as one of no type."""
    suffix = Path(name.lower()).suffix
    guessed, encoding = mimetypes.guess_type("file" + suffix)
    return _BY_SUFFIX.get(suffix) or (guessed if guessed and not encoding else _UNKNOWN)
