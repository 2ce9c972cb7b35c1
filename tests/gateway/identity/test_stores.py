"""Tokens, users, codes and files: what is kept, how it is compared, when it is over."""

import asyncio
import os
import stat
import statistics
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from bus.errors import (
    BadParameters,
    Conflict,
    NotAuthenticated,
    NotFound,
    Overloaded,
    RateLimited,
    TokenExpired,
    TooLarge,
)  # fmt: skip
from bus.events import MediaRef
from gateway.identity import codes
from gateway.identity.document import CorruptDocument, Document
from gateway.identity.links import Links
from gateway.identity.logins import Logins
from gateway.identity.media import PASSING_SECONDS, MediaFolder, clean_name
from gateway.identity.pairing import Pairing
from gateway.identity.roles import ROLES, may_grant, scopes_of
from gateway.identity.tokens import Tokens
from gateway.identity.tries import Tries
from gateway.identity.users import Users
from gateway.limits import MessageRate
from gateway.settings_server import StaticToken

NOW = 1_800_000_000.0


def tokens(folder: Path, *static: StaticToken) -> Tokens:
    return Tokens(Document(folder / "tokens.json"), static)


def test_a_token_is_kept_by_its_hash_and_survives_a_restart(tmp_path: Path) -> None:
    token, text = tokens(tmp_path).create("carol", "user", NOW, name="phone")
    kept = (tmp_path / "tokens.json").read_text()
    assert text.partition(".")[2] not in kept
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    again = tokens(tmp_path)
    assert again.verify(text, NOW) == token
    assert len(text.partition(".")[2]) >= 43


@pytest.mark.attack(8)
def test_nothing_but_the_token_is_the_token(tmp_path: Path) -> None:
    found = tokens(tmp_path)
    token, text = found.create("carol", "user", NOW)
    for wrong in ("", " ", text + " ", text[:-1], text.upper(), token.token_id, token.token_id + ".", "." + text,
                  None, 5, b"x", [], "x" * 10_000_000, "ключ", "\ud800", token.token_id + ".\ud800"):  # fmt: skip
        with pytest.raises(NotAuthenticated):
            found.verify(wrong, NOW)


@pytest.mark.attack(8)
def test_how_long_a_no_takes_tells_nothing(tmp_path: Path) -> None:
    """Whether the id exists, and how much of the secret is right; each asked in turn, so that noise is everybody's."""
    found = tokens(tmp_path)
    token, text = found.create("carol", "user", NOW)
    other = "A" if text[-1] != "A" else "B"
    unknown = token.token_id[:-1] + ("0" if token.token_id[-1] != "0" else "1")
    wrongs = {
        "nobody's": unknown + text[len(token.token_id) :], "wholly wrong": token.token_id + "." + "x" * 43,
        "its last letter": text[:-1] + other,
    }  # fmt: skip
    took: dict[str, list[int]] = {name: [] for name in wrongs}
    for _ in range(3000):
        for name, wrong in wrongs.items():
            begun = time.perf_counter_ns()
            try:
                found.verify(wrong, NOW)
            except NotAuthenticated:
                took[name].append(time.perf_counter_ns() - begun)
    medians = sorted(statistics.median(times) for times in took.values())
    assert [len(times) for times in took.values()] == [3000] * 3
    assert medians[-1] < 1.5 * medians[0], medians


@pytest.mark.attack(11)
def test_rotation_keeps_the_id_and_gives_grace(tmp_path: Path) -> None:
    found = tokens(tmp_path)
    token, old = found.create("carol", "user", NOW)
    mark = Tokens.fingerprint(old)
    _, new = found.rotate(token.token_id, NOW, grace=100)
    assert found.verify(old, NOW + 99).token_id == found.verify(new, NOW + 99).token_id == token.token_id
    found.current(token.token_id, NOW + 99, secret_hash=mark)
    with pytest.raises(TokenExpired):
        found.verify(old, NOW + 100)
    with pytest.raises(TokenExpired):
        found.current(token.token_id, NOW + 100, secret_hash=mark)
    found.rotate(token.token_id, NOW, grace=0)
    with pytest.raises(TokenExpired):
        found.verify(new, NOW)


@pytest.mark.attack(75)
def test_a_clock_set_back_revives_no_token_beyond_a_minute(tmp_path: Path) -> None:
    found = tokens(tmp_path)
    _, text = found.create("carol", "user", NOW, ttl=60)
    found.verify(text, NOW + 59)
    for moment in (NOW + 130, NOW + 10, NOW - 86_400):
        with pytest.raises(TokenExpired):
            found.verify(text, moment)


def test_static_tokens_are_in_memory_only(tmp_path: Path) -> None:
    found = tokens(tmp_path, StaticToken(user="bot", role="service", scopes=["chat"], token=SecretStr("s3cret-s3cret")))
    token = found.verify("s3cret-s3cret", NOW)
    assert (token.user, token.scopes) == ("bot", frozenset({"chat"}))
    assert found.current(token.token_id, NOW) == token
    with pytest.raises(BadParameters):
        found.revoke(token.token_id)
    assert not (tmp_path / "tokens.json").exists()
    with pytest.raises(NotAuthenticated):
        found.verify("static_0", NOW)


def test_a_revoked_token_is_gone(tmp_path: Path) -> None:
    found = tokens(tmp_path)
    token, text = found.create("carol", "user", NOW)
    found.revoke(token.token_id)
    with pytest.raises(NotAuthenticated):
        found.verify(text, NOW)
    with pytest.raises(NotAuthenticated):
        found.current(token.token_id, NOW)
    with pytest.raises(NotFound):
        found.rotate(token.token_id, NOW)


def test_roles_and_what_they_may_hand_on() -> None:
    assert scopes_of("user") == {"chat", "tools", "tunnel", "approve"}
    assert scopes_of("service") == {"chat", "tools"}
    assert ROLES["owner"] == ROLES["admin"] >= ROLES["user"]
    assert scopes_of("user", ["tunnel"]) == {"tunnel"}
    with pytest.raises(BadParameters):
        scopes_of("user", ["admin"])
    may_grant("owner", ROLES["owner"], "admin", ROLES["admin"])
    may_grant("admin", ROLES["admin"], "user", ROLES["user"])


def test_users(tmp_path: Path) -> None:
    users = Users(Document(tmp_path / "users.json"))
    users.add("carol", "viewer")
    with pytest.raises(Conflict):
        users.add("carol")
    for bad in ("", "-x", "a/b", "a b", "x" * 65, "é"):
        with pytest.raises(BadParameters):
            users.add(bad)
    assert Users(Document(tmp_path / "users.json")).role_of("carol") == "viewer"
    assert users.role_of("stranger") == "user"


@pytest.mark.attack(10)
def test_pairing_codes(tmp_path: Path) -> None:
    pairing = Pairing(Document(tmp_path / "pairing.json"))
    first = pairing.ask("telegram", "1", "42", "C", NOW)
    assert first is not None and len(first.code) == 8 and set(first.code) <= set(codes.ALPHABET)
    assert pairing.ask("telegram", "1", "42", "C", NOW) is None
    assert pairing.ask("telegram", "1", "43", "D", NOW) and pairing.ask("telegram", "1", "44", "E", NOW)
    assert pairing.ask("telegram", "1", "45", "F", NOW) is None
    assert pairing.ask("telegram", "2", "45", "F", NOW)
    assert pairing.take(codes.shown(first.code).lower(), NOW).peer == "42"
    with pytest.raises(NotFound):
        pairing.take(first.code, NOW)
    again = Pairing(Document(tmp_path / "pairing.json"))
    waiting = again.pending(NOW)[0]
    with pytest.raises(NotFound):
        again.take(waiting.code, NOW + 601)
    assert again.ask("telegram", "1", "45", "F", NOW + 601)


@pytest.mark.attack(10)
def test_tries() -> None:
    tries = Tries()
    for moment in range(5):
        tries.check("x", moment)
        tries.wrong("x", moment)
    with pytest.raises(RateLimited) as locked:
        tries.check("x", 5)
    assert locked.value.retry_after_ms is not None and 594_000 < locked.value.retry_after_ms < 596_000
    tries.check("y", 5)
    tries.check("x", 601)


def test_links_and_their_codes(tmp_path: Path) -> None:
    links = Links(Document(tmp_path / "links.json"))
    offered = links.offer("alice", NOW)["code"]
    links.offer("bob", NOW)
    assert links.redeem(offered.lower(), "telegram:1:42", NOW) == ("alice", None)
    with pytest.raises(NotFound):
        links.redeem(offered, "telegram:1:43", NOW)
    late = links.offer("alice", NOW)["code"]
    with pytest.raises(NotFound):
        links.redeem(late, "telegram:1:43", NOW + 601)
    assert Links(Document(tmp_path / "links.json")).of_user("alice") == ["telegram:1:42"]
    with pytest.raises(NotFound):
        links.untie("telegram:1:42", "bob")
    links.untie("telegram:1:42", "alice")
    assert links.user_of("telegram:1:42") is None


def test_login_codes_work_once_and_not_for_ever(tmp_path: Path) -> None:
    logins = Logins(Document(tmp_path / "logins.json"))
    code = logins.create("alice", NOW, seconds=600)
    assert code not in (tmp_path / "logins.json").read_text()
    assert Logins(Document(tmp_path / "logins.json")).redeem(code, NOW) == "alice"
    late = logins.create("alice", NOW, seconds=600)
    with pytest.raises(NotAuthenticated):
        logins.redeem(late, NOW + 600)


@pytest.mark.attack(28)
def test_the_rate_slides_and_knows_no_wall_clock() -> None:
    rate = MessageRate(3)
    for moment in (0.0, 1.0, 2.0):
        rate.take("a", moment)
    with pytest.raises(RateLimited) as limited:
        rate.take("a", 10.0)
    assert limited.value.retry_after_ms == 50_001
    rate.take("b", 10.0)
    rate.take("a", 60.0)
    with pytest.raises(RateLimited):
        rate.take("a", 60.5)
    endless = MessageRate(0)
    for _ in range(1000):
        endless.take("a", 0.0)


def test_documents_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ("{", "[]", '{"version": 99}'):
        path.write_text(text)
        with pytest.raises(CorruptDocument, match=r"x\.json"):
            Document(path)
    path.unlink()
    (tmp_path / "elsewhere").write_text("{}")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptDocument):
        Document(path)


@pytest.mark.attack(33)
async def test_media_of_one_user_do_not_exist_for_another(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media", max_bytes=100)
    ref = await media.save(b"hello", mime="text/plain; charset=utf-8", name="../../a.txt", owner="alice")
    assert (ref.name, ref.mime, ref.size) == ("a.txt", "text/plain", 5)
    assert await media.save(b"hello", mime="text/plain", name="a.txt", owner="alice") == ref
    assert await media.read(ref, "alice") == b"hello"
    assert (await media.save(b"hello", mime="text/plain", name="a.txt", owner="bob")).media_id != ref.media_id
    for owner, name in (("bob", ref.media_id), ("alice", "../salt"), ("alice", "med_" + "0" * 40)):
        with pytest.raises(NotFound):
            await media.find(name, owner)
    with pytest.raises(TooLarge):
        await media.save(b"x" * 101, mime="", name="x", owner="alice")
    for path in (tmp_path / "media").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = MediaFolder(tmp_path / "media", max_bytes=100)
    assert await again.save(b"hello", mime="text/plain", name="a.txt", owner="alice") == ref


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a.png", "a.png"), ("../../x", "x"), ("C:\\x\\y.txt", "y.txt"), ("", "file"), ("..", "file"), ("a\x00b\n", "ab"),
     ("/", "file"), ("\u202egpj.exe", "gpj.exe"), ("x" * 300, "x" * 255), ("你好.pdf", "你好.pdf")],
)  # fmt: skip
def test_names_of_files(given: str, kept: str) -> None:
    assert clean_name(given) == kept
    assert os.sep not in clean_name(given)


async def test_the_first_files_of_a_new_house_may_come_at_once(tmp_path: Path) -> None:
    """Each makes the salt, and two are the same file: all are kept, and all can be found again."""
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        media = MediaFolder(folder, max_bytes=100)
        contents = [b"one", b"two", b"one", b"three"]
        kept = await asyncio.gather(*(media.save(c, mime="text/plain", name="a", owner="u") for c in contents))
        assert kept[0] == kept[2]
        again = MediaFolder(folder, max_bytes=100)
        assert [await again.read(ref, "u") for ref in kept] == contents
        assert (await again.save(b"two", mime="text/plain", name="a", owner="u")).media_id == kept[1].media_id


def test_what_the_disk_refused_has_not_happened_and_can_be_tried_again(tmp_path: Path) -> None:
    found, people = tokens(tmp_path), Users(Document(tmp_path / "users.json"))
    token, text = found.create("carol", "user", NOW)
    people.add("carol")
    for name in ("tokens", "users"):
        (tmp_path / f"{name}.json.new").mkdir()  # in the place of the neighbour file: the disk refuses
    with pytest.raises(Overloaded):
        found.revoke(token.token_id)
    with pytest.raises(Overloaded):
        found.create("dave", "user", NOW)
    with pytest.raises(Overloaded):
        people.remove("carol")
    with pytest.raises(Overloaded):
        people.add("dave")
    for name in ("tokens", "users"):
        (tmp_path / f"{name}.json.new").rmdir()
    assert found.verify(text, NOW) == token and [one.user for one in found.all()] == ["carol"]
    assert [one.user for one in people.all()] == ["carol"]
    people.add("dave")
    people.remove("carol")
    found.revoke(token.token_id)
    with pytest.raises(NotAuthenticated):
        tokens(tmp_path).verify(text, NOW)
    assert [one.user for one in Users(Document(tmp_path / "users.json")).all()] == ["dave"]


async def test_a_file_that_is_only_passing_stays_for_a_day_after_the_last_time(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path / "media", max_bytes=100)

    async def keep(data: bytes, **more: bool) -> MediaRef:
        return await media.save(data, mime="image/png", name="a.png", owner="alice", **more)

    passing, kept, both, later = (
        await keep(b"passing", passing=True), await keep(b"kept"), await keep(b"both", passing=True),
        await keep(b"later"),
    )  # fmt: skip
    assert await keep(b"both") == both and await keep(b"later", passing=True) == later  # once for good is for good
    now = time.time()
    assert await media.sweep(now + PASSING_SECONDS - 60) == 0
    assert await media.sweep(now + PASSING_SECONDS + 60) == 1
    for ref in (kept, both, later):
        assert await media.read(ref, "alice")
    with pytest.raises(NotFound):
        await media.find(passing.media_id, "alice")
    assert not [path for path in (tmp_path / "media").rglob("*") if passing.media_id in path.name]
    assert await keep(b"passing", passing=True) == passing and await media.read(passing, "alice") == b"passing"
    await media.forget("alice")
    assert not list((tmp_path / "media").rglob("med_*"))
