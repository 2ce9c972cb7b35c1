"""Files that people send reach a model that can use them; files that tools give reach the person, not the log."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent import files
from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.ports.tools import ToolCall, ToolResult
from agent.settings import ModelSettings
from bus.events import MediaRef, ToolFinished
from bus.keys import default_key
from gateway.identity.media import MediaFolder
from tests.agent.harness import Agent, Tools, running
from tests.fakes.openai_server import OpenAIServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def pdf(text: str) -> bytes:
    """A one-page PDF with one line, as small as it can be."""
    content = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> "
        b">>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]  # fmt: skip
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 6\n0000000000 65535 f \n%strailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table, len(out),
    )  # fmt: skip


class PictureTools(Tools):
    """Its tool gives whatever content blocks it was told to."""

    blocks: tuple[dict[str, Any], ...] = ()

    async def call(self, call: ToolCall, *, deadline: Any, report: Any) -> ToolResult:
        return ToolResult(content=self.blocks)


class House:
    """An agent with a folder for media and models of one's choice."""

    def __init__(self, tmp_path: Path, server: OpenAIServer) -> None:
        self.server = server
        self.folder = MediaFolder(tmp_path / "media", max_bytes=1_000_000)
        entries = [
            ModelSettings(name=name, base_url=server.url, model="echo", vision=name == "eye", api_key=SecretStr("k"))
            for name in ("blind", "eye")
        ]
        self.pool = ModelPool(entries, DemoModel(0))
        self.tools = PictureTools()
        self.tools.add("draw", str)
        self.agent: Any = Agent(tmp_path / "sessions", self.pool, self.tools)
        self.agent.media = self.folder

    async def keep(self, data: bytes, mime: str, name: str, owner: str = "alice") -> MediaRef:
        return await self.folder.save(data, mime=mime, name=name, owner=owner)

    def last(self) -> Any:
        return [m for m in self.server.requests[-1]["messages"] if m["role"] == "user"][-1]["content"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with OpenAIServer() as server:
        made = House(tmp_path, server)
        try:
            async with running(made.agent):
                yield made
        finally:
            await made.pool.close()


async def test_an_image_goes_to_the_model_that_sees_and_only_in_its_turn(house: House) -> None:
    ref = await house.keep(PNG, "image/png", "dot.png")
    house.server.script = [{"match": "what is this", "do": "say a dot"}]
    end = await house.agent.ask("what is this?", media=(ref,))
    text, image = house.last()
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert "dot.png" in text["text"]
    started = next(e for e in house.agent.of(end.message_id) if e.type == "chat.started")
    assert started.mode == "single"
    told = {entry["name"]: entry["rounds"] for entry in house.pool.describe()}
    assert told == {"blind": 0, "eye": 1}
    await house.agent.ask("and now?")
    assert "base64" not in json.dumps(house.server.requests[-1]["messages"])
    assert "[file dot.png, image/png" in json.dumps(house.server.requests[-1]["messages"])
    assert {entry["name"]: entry["rounds"] for entry in house.pool.describe()} == {"blind": 1, "eye": 1}


async def test_text_and_pdf_are_read_and_others_named(house: House) -> None:
    refs = (
        await house.keep(b"first line\n" + b"x" * 70_000, "text/plain", "long.txt"),
        await house.keep(pdf("Hello from the page"), "application/pdf", "page.pdf"),
        await house.keep(b"PK\3\4", "application/zip", "all.zip"),
    )
    await house.agent.ask("read", media=refs[1:])
    assert "[file page.pdf]\nHello from the page" in house.last()
    assert f"[file all.zip, application/zip, 4 bytes] (attachment {refs[2].media_id})" in house.last()
    await house.agent.ask("read", media=refs[:1])
    assert "first line" in house.last() and "[cut here]" in house.last() and len(house.last()) < 61_000


@pytest.mark.parametrize("broken", [b"", b"%PDF-1.4 rubbish", pdf("x")[:200] + b"\0" * 50])
async def test_a_broken_pdf_is_said_and_costs_nothing_else(house: House, broken: bytes) -> None:
    end = await house.agent.ask("read", media=(await house.keep(broken, "application/pdf", "b.pdf"),))
    assert end.type == "chat.done"
    assert "can't be read" in house.last() or "no text in this PDF" in house.last()


async def test_a_file_of_somebody_else_is_not_read(house: House) -> None:
    ref = await house.keep(b"bob's secret", "text/plain", "diary.txt", owner="bob")
    end = await house.agent.ask("read", media=(ref,))
    assert end.type == "chat.done"
    assert "bob's secret" not in json.dumps(house.server.requests) and "(it can't be read)" in house.last()


async def test_what_a_tool_gives_reaches_the_person_as_files(house: House) -> None:
    house.tools.blocks = (
        {"type": "text", "text": "here it is"},
        {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"},
        {"type": "resource", "resource": {"uri": "file:///r/report.csv", "mimeType": "text/csv", "blob": "YSxi"}},
        {"type": "audio", "data": "not base64!", "mimeType": "audio/wav"},
    )
    end = await house.agent.ask("!tool draw {}")
    (finished,) = [e for e in house.agent.of(end.message_id) if isinstance(e, ToolFinished)]
    assert [(ref.mime, ref.name, ref.size) for ref in finished.media] == [
        ("image/png", "draw.png", len(PNG)), ("text/csv", "report.csv", 3)
    ]  # fmt: skip
    assert await house.folder.read(finished.media[0], "alice") == PNG
    assert "here it is" in end.text and "could not be kept" in end.text
    (record,) = await house.agent.store.read(default_key("alice"), types=frozenset({"tool.finished"}))
    assert base64.b64encode(PNG).decode() not in json.dumps(record.data)
    assert record.data["media"][0]["media_id"] == finished.media[0].media_id
    assert "shown to the person" in json.dumps(house.server.requests[-1]["messages"])


async def test_a_heap_of_pictures_is_bounded(house: House) -> None:
    refs = [await house.keep(PNG + bytes([n]), "image/png", f"{n}.png") for n in range(files.MAX_IMAGES + 3)]
    await house.agent.ask("look", media=tuple(refs))
    assert sum(part["type"] == "image_url" for part in house.last()) == files.MAX_IMAGES


def reading(ref: MediaRef) -> str:
    return "tool read_attachment " + json.dumps({"attachment": ref.media_id})


def offered(house: House) -> set[str]:
    return {tool["function"]["name"] for tool in house.server.requests[-1].get("tools", ())}


async def test_files_of_earlier_turns_are_read_on_by_their_handle(house: House) -> None:
    await house.agent.ask("hello")
    assert "read_attachment" not in offered(house)
    page = await house.keep(pdf("Hello from the page"), "application/pdf", "page.pdf")
    long = await house.keep(b"first line\n" + b"x" * 70_000 + b"\nlast line", "text/plain", "long.txt")
    house.server.script = [{"match": "keep these", "do": "say kept"}]
    await house.agent.ask("keep these", media=(page, long))
    assert f"[cut here] (attachment {long.media_id} has all of it)" in house.last()
    house.server.script = [{"match": "the page again", "do": reading(page)}, {"match": "the end", "do": reading(long)}]
    end = await house.agent.ask("the page again")
    assert "read_attachment" in offered(house) and "Hello from the page" in end.text
    asked = house.server.requests[-2]["messages"]
    assert "Hello from the page" not in json.dumps(asked)  # it was only named until it was asked for
    end = await house.agent.ask("the end")
    [result] = [m for m in house.server.requests[-1]["messages"] if m["role"] == "tool"][-1:]
    assert "Read on with read_result" in result["content"] and len(result["content"]) > 60_000
    handle = json.loads(result["content"].rsplit("read_result ", 1)[1].rstrip("]"))
    assert set(handle) == {"handle", "offset"}


async def test_a_picture_of_an_earlier_turn_is_shown_when_it_is_asked_for(house: House) -> None:
    ref = await house.keep(PNG, "image/png", "dot.png")
    house.server.script = [{"match": "keep this", "do": "say kept"}]
    await house.agent.ask("keep this", media=(ref,))
    house.server.script = [{"match": "dot.png, as asked for", "do": "say seen"}, {"match": "again", "do": reading(ref)}]
    end = await house.agent.ask("look at it again")
    assert end.text == "seen"
    *_, result, shown = house.server.requests[-1]["messages"]
    assert result["role"] == "tool" and shown["role"] == "user"
    assert shown["content"][1]["image_url"]["url"].endswith(base64.b64encode(PNG).decode())
    assert house.server.requests[-1]["model"] == "echo"
    assert {entry["name"]: entry["rounds"] for entry in house.pool.describe()}["eye"] == 2
    await house.agent.ask("and now?")  # the next turn holds what was said, and no picture
    assert "base64" not in json.dumps(house.server.requests[-1]["messages"])


async def test_no_handle_opens_what_is_not_in_the_talk_or_somebody_elses(house: House) -> None:
    mine = await house.keep(b"mine", "text/plain", "mine.txt")
    bobs = await house.keep(b"bob's secret", "text/plain", "diary.txt", owner="bob")
    await house.agent.ask("keep", media=(mine, bobs))
    elsewhere = await house.keep(b"of another talk", "text/plain", "else.txt")
    for number, ref in enumerate((bobs, elsewhere)):
        house.server.script = [{"match": f"read {number}", "do": reading(ref)}]
        await house.agent.ask(f"read {number}")
    told = json.dumps(house.server.requests[-1]["messages"])
    assert "no longer kept, or it is somebody else's" in told and "no such attachment in this talk" in told
    assert "bob's secret" not in told and "of another talk" not in told
