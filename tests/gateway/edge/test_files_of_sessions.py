"""A person's files: as many as fit into what is kept for one user, and gone with the last session that shows them."""

import asyncio
import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bus.errors import NotFound
from bus.events import MediaRef
from gateway.identity.media import PASSING_SECONDS, MediaFolder, NoRoom
from tests.gateway.edge.harness import Running, Wire, bearer, running

PICTURES = Path(__file__).parent.parent.parent / "fakes" / "picture_server.py"


async def upload(gateway: Running, data: bytes, who: str = "alice", name: str = "a.txt") -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("file", data, filename=name, content_type="text/plain")
    async with gateway.http.post(gateway.url + "/api/v1/media", data=form, headers=bearer(who)) as response:
        return response.status, await response.json()


async def status(gateway: Running, media_id: str, who: str = "alice") -> int:
    async with gateway.http.get(f"{gateway.url}/api/v1/media/{media_id}", headers=bearer(who)) as response:
        return response.status


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "media").rglob("med_*"))


async def say(wire: Wire, key: str, *media: str) -> None:
    await wire.call("chat.send", text="look", session_key=key, media=[{"media_id": each} for each in media])


async def test_a_user_keeps_no_more_than_is_allowed_and_others_are_not_held_up(tmp_path: Path) -> None:
    async with running(tmp_path, server={"max_media_bytes_per_user": 2000}) as gateway:
        assert (await upload(gateway, b"x" * 1200, name="1"))[0] == 200
        assert (await upload(gateway, b"x" * 1200, name="1"))[0] == 200, "the same file once more takes no room"
        code, answer = await upload(gateway, b"x" * 1200, name="2")
        assert (code, answer["error"]["code"], answer["error"]["retryable"]) == (503, 1007, False)
        assert (await upload(gateway, b"x" * 1200, "bob"))[0] == 200
        data = base64.b64encode(b"y" * 1200).decode()
        sent = await gateway.rpc("chat.send", "alice", text="x", media=[{"data": data}])
        assert sent["error"]["code"] == 1007
        assert len(files(tmp_path)) == 4
    async with running(tmp_path, server={"max_media_bytes_per_user": 2000}) as gateway:
        assert (await upload(gateway, b"x" * 1200, name="2"))[0] == 503, "counted anew after a start"
        assert (await upload(gateway, b"x" * 800, name="2"))[0] == 200


async def test_what_is_deleted_makes_room(tmp_path: Path) -> None:
    async with running(tmp_path, server={"max_media_bytes_per_user": 2000}) as gateway, gateway.client() as wire:
        _, kept = await upload(gateway, b"x" * 1200)
        await say(wire, "s", kept["media_id"])
        await wire.call("session.delete", session_key="s")
        assert (await upload(gateway, b"z" * 1200))[0] == 200


async def test_a_file_goes_with_the_last_session_that_shows_it(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire, gateway.client("bob") as other:
        (_, one), (_, two), (_, unsent) = [await upload(gateway, data) for data in (b"one", b"two", b"unsent")]
        (_, same) = await upload(gateway, b"one", "bob")
        await say(other, "s", same["media_id"])
        await say(wire, "s", one["media_id"], two["media_id"])
        await say(wire, "t", one["media_id"])
        await wire.call("session.delete", session_key="s")
        assert [await status(gateway, each["media_id"]) for each in (one, two, unsent)] == [200, 404, 200]
        assert (await gateway.rpc("chat.send", "alice", text="x", media=[{"media_id": two["media_id"]}]))["error"]
        await wire.call("session.delete", session_key="t")
        assert [await status(gateway, each["media_id"]) for each in (one, unsent)] == [404, 200]
        assert await status(gateway, same["media_id"], "bob") == 200
        assert {name.partition(".")[0] for name in files(tmp_path)} == {unsent["media_id"], same["media_id"]}


async def test_it_is_known_after_a_start_and_by_a_command_on_a_stopped_gateway(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire:
        _, one = await upload(gateway, b"one")
        await say(wire, "s", one["media_id"])
        await say(wire, "t", one["media_id"])
    async with running(tmp_path) as gateway, gateway.client() as wire:
        await wire.call("session.delete", session_key="s")
        assert await status(gateway, one["media_id"]) == 200
        await wire.call("session.delete", session_key="t")
        assert await status(gateway, one["media_id"]) == 404


async def test_a_turn_that_runs_keeps_its_file(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.05) as gateway, gateway.client() as wire:
        _, one = await upload(gateway, b"one")
        await say(wire, "s", one["media_id"])
        accepted = await wire.call(
            "chat.send_stream", text="count to 40", session_key="t", media=[{"media_id": one["media_id"]}]
        )
        await wire.event("chat.delta", message_id=accepted["message_id"])
        await wire.call("session.delete", session_key="s")
        assert await status(gateway, one["media_id"]) == 200
        assert (await wire.done(accepted["message_id"]))["type"] == "chat.done"


async def test_what_tools_gave_goes_too(tmp_path: Path) -> None:
    servers = [{"name": "pictures", "command": sys.executable, "args": [str(PICTURES)]}]
    async with running(tmp_path, mcp_servers=servers) as gateway, gateway.client() as wire:
        while "pictures_draw" not in str(await wire.call("tools.list")):
            await asyncio.sleep(0.05)
        for key in ("s", "t"):
            await wire.call("chat.send", text="use pictures_draw {}", session_key=key)
        (picture,) = {name.partition(".")[0] for name in files(tmp_path)}
        await wire.call("session.delete", session_key="s")
        assert await status(gateway, picture) == 200
        await wire.call("session.delete", session_key="t")
        assert await status(gateway, picture) == 404 and files(tmp_path) == []
        body = {"model": "demo", "messages": [{"role": "user", "content": "use pictures_draw {}"}]}
        async with gateway.http.post(
            gateway.url + "/v1/chat/completions", json=body, headers=bearer("alice")
        ) as response:
            assert response.status == 200
        async with asyncio.timeout(5):
            while f"{picture}.passing" not in files(tmp_path):  # its session is kept for a day, and so is it
                await asyncio.sleep(0.02)


async def test_a_session_that_is_written_to_while_it_is_deleted_keeps_the_files_of_its_new_life(tmp_path: Path) -> None:
    """Two people's machines at once: whatever comes first, a message that is there shows its file."""
    async with running(tmp_path, pace=0.0) as gateway, gateway.client() as wire, gateway.client() as other:
        for number in range(20):
            _, one = await upload(gateway, b"%d" % number)
            await say(wire, "s", one["media_id"])
            await asyncio.gather(
                wire.ask("session.delete", session_key="s"),
                other.ask("chat.send", text="again", session_key="s", media=[{"media_id": one["media_id"]}]),
            )
            history = await wire.ask("chat.history", session_key="s")
            shown = [media for m in history.get("result", {}).get("messages", ()) for media in m.get("media") or ()]
            assert all([await status(gateway, each["media_id"]) == 200 for each in shown])


async def keep(media: MediaFolder, data: bytes) -> MediaRef:
    return await media.save(data, mime="text/plain", name="a.txt", owner="alice")


async def test_what_was_just_saved_again_outlives_the_session_that_showed_it(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path, max_bytes=100)
    ref = await keep(media, b"one")
    media.claim([ref.media_id])
    assert await keep(media, b"one") == ref  # about to be sent to another session
    media.remove([ref.media_id])
    assert await media.read(ref, "alice") == b"one"
    media.claim([ref.media_id])
    assert await media.sweep(time.time() + PASSING_SECONDS + 60) == 0
    media.remove([ref.media_id])
    with pytest.raises(NotFound):
        await media.read(ref, "alice")
    with pytest.raises(NotFound):
        media.claim([ref.media_id])


async def test_a_file_of_before_the_book_was_kept_stays(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path, max_bytes=100)
    ref = await keep(media, b"one")
    (about,) = tmp_path.glob("??/med_*.json")
    row = json.loads(about.read_bytes())
    del row["with_sessions"]
    about.write_text(json.dumps(row))
    media.claim([ref.media_id])
    media.remove([ref.media_id])
    assert await media.read(ref, "alice") == b"one"


async def test_a_file_that_is_swept_or_forgotten_makes_room(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path, max_bytes=100, per_user=100)
    ref = await media.save(b"x" * 80, mime="text/plain", name="a.txt", owner="alice", passing=True)
    with pytest.raises(NoRoom):
        await keep(media, b"y" * 80)
    for mark in tmp_path.glob("??/*.passing"):
        os.utime(mark, (0, 0))
    assert await media.sweep() == 1
    assert await keep(media, b"y" * 80) != ref
    await media.forget("alice")
    assert await keep(media, b"z" * 80)
