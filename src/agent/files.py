"""Files on their way: people's to the model, as parts of a message; tools' to the person, as media.

Images go to models that see, text and PDF are read, everything else is named; sizes
are bounded. What a tool gave as image, sound or file is kept for the person, and
the log holds its handle instead of its bytes. Above are `modes/work.py` and the
tool executor; below is the gateway's media folder. Whose file it is decides the folder.
"""

import asyncio
import base64
import binascii
import dataclasses
import logging
import mimetypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.llm.fair import FairShare
from agent.pdf_text import MISSING
from agent.ports.media import MediaReader, MediaStore
from agent.ports.tools import ToolResult
from bus.errors import GatewayError
from bus.events import JsonObject, MediaRef

log = logging.getLogger("agent.files")

SEEN_AS_IMAGE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
READ_AS_TEXT = ("text/", "application/json", "application/xml", "application/yaml")
PDF = "application/pdf"
TEXT_CHARS = 60_000
IMAGE_BYTES = 8 * 1024 * 1024
MAX_IMAGES = 10
PDF_PAGES = 200
PDF_SECONDS = 20.0
PDF_READERS = FairShare(2)
"""Processes at once, over all people, who take turns: each may take a gibibyte."""
MAX_KEPT = 16
"""Files of one tool result that are kept; more are named."""


@dataclass(slots=True)
class ForModel:
    """The parts that files become, and whether a model must see."""

    parts: list[JsonObject]
    vision: bool = False


async def for_model(refs: Sequence[MediaRef], media: MediaReader, owner: str, *, sees: bool) -> ForModel:
    """Parts of a Chat Completions message. A file that is gone, or not this user's, is named and not read."""
    out = ForModel([])
    images, room = 0, TEXT_CHARS
    for ref in refs:
        text = ""
        try:
            if sees and ref.mime in SEEN_AS_IMAGE and ref.size <= IMAGE_BYTES and images < MAX_IMAGES:
                data = base64.b64encode(await media.read(ref, owner)).decode()
                out.parts.append({"type": "image_url", "image_url": {"url": f"data:{ref.mime};base64,{data}"}})
                out.vision = True
                images += 1
                continue
            read = await text_of(ref, media, owner, room + 1)
            if read is None:
                continue  # its name stands in the message
            text = read
        except (GatewayError, OSError) as error:
            log.warning("a file of a message can't be read: %s", type(error).__name__)
            text = "(it can't be read)"
        text = text if len(text) <= room else text[:room] + f"\n[cut here] (attachment {ref.media_id} has all of it)"
        room = max(0, room - len(text))
        out.parts.append({"type": "text", "text": f"[file {ref.name}]\n{text}"})
    return out


async def text_of(ref: MediaRef, media: MediaReader, owner: str, characters: int) -> str | None:
    """The text of a file, of a PDF at most so many `characters`; None for what is no text. Raises NotFound, OSError."""
    if ref.mime.startswith(READ_AS_TEXT):
        return (await media.read(ref, owner)).decode("utf-8", "replace")
    if ref.mime == PDF:
        async with PDF_READERS.slot(owner):
            return await _read_pdf(await media.read(ref, owner), characters)
    return None


async def _read_pdf(data: bytes, characters: int) -> str:
    """The text of a PDF, or why there is none."""
    script = str(Path(__file__).with_name("pdf_text.py"))
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", script, str(PDF_PAGES), str(characters), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PDF_SECONDS):
            text, _ = await process.communicate(data)
    except TimeoutError:
        return "(reading this PDF took too long)"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == MISSING:
        return "(PDF can't be read here: the operator can install the extra `media`)"
    if process.returncode:
        return "(this PDF can't be read: broken or encrypted)"
    return text.decode("utf-8", "replace") or "(there is no text in this PDF; it may be a scan)"


# ---------------------------------------------------------------- what tools give


async def for_person(result: ToolResult, media: MediaStore, owner: str, tool: str) -> ToolResult:
    """The result with its images, sounds and files kept for `owner`, and their handles in the bytes' place."""
    if not any(_bytes_of(block) is not None for block in result.content):
        return result
    content: list[JsonObject] = []
    kept: list[MediaRef] = []
    for block in result.content:
        found = _bytes_of(block)
        if found is None:
            content.append(block)
            continue
        encoded, mime, name = found
        try:
            if len(kept) >= MAX_KEPT:
                raise ValueError("too many files")
            data = await asyncio.to_thread(base64.b64decode, encoded, validate=True)
            ref = await media.save(data, mime=mime, name=name or _name(tool, mime), owner=owner)
        except (GatewayError, ValueError, binascii.Error, OSError) as error:
            reason = error.message if isinstance(error, GatewayError) else "it is broken"
            content.append({"type": "text", "text": f"[a file of type {mime[:64]} could not be kept: {reason}]"})
            continue
        kept.append(ref)
        content.append(_without_bytes(block) | {"media_id": ref.media_id})
    return dataclasses.replace(result, content=tuple(content), media=(*result.media, *kept))


def _bytes_of(block: JsonObject) -> tuple[str, str, str] | None:
    """Base64, type and name of what a content block carries; None where it carries no bytes."""
    kind = block.get("type")
    if kind in ("image", "audio") and isinstance(block.get("data"), str):
        return block["data"], str(block.get("mimeType") or f"{kind}/octet-stream"), ""
    resource = block.get("resource")
    if kind == "resource" and isinstance(resource, dict) and isinstance(resource.get("blob"), str):
        name = str(resource.get("uri") or "").rsplit("/", 1)[-1]
        return resource["blob"], str(resource.get("mimeType") or "application/octet-stream"), name
    return None


def _without_bytes(block: JsonObject) -> JsonObject:
    kept = {name: value for name, value in block.items() if name not in ("data", "resource")}
    if isinstance(block.get("resource"), dict):
        kept["resource"] = {name: value for name, value in block["resource"].items() if name != "blob"}
    return kept


def _name(tool: str, mime: str) -> str:
    return tool + (mimetypes.guess_extension(mime) or "")
