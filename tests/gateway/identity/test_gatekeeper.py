"""Who may speak on a platform, in private and in groups, and who is told how to ask."""

from pathlib import Path
from typing import Any

import pytest

from bus.errors import NotFound, RateLimited
from channels.ports import Admitted, Hint, Identity, Place, Silent
from channels.settings import ChannelsSettings
from gateway.identity.document import Document
from gateway.identity.gatekeeper import Gate, user_of_peer
from gateway.identity.links import Links
from gateway.identity.pairing import Pairing
from gateway.identity.preferences import Preferences
from gateway.identity.users import Users


class Door:
    """A gate with its stores, and a clock to turn."""

    def __init__(self, folder: Path, **telegram: Any) -> None:
        self.clock = 1000.0
        self.users = Users(Document(folder / "users.json"))
        self.links = Links(Document(folder / "links.json"))
        self.pairing = Pairing(Document(folder / "pairing.json"))
        self.preferences = Preferences(Document(folder / "preferences.json"))
        self.moved: list[tuple[str, str, str]] = []
        self.gate = Gate(
            ChannelsSettings.model_validate({"telegram": telegram}), self.users, self.links, self.pairing,
            now=lambda: self.clock, monotonic=lambda: self.clock, preferences=self.preferences,
        )  # fmt: skip
        self.gate.tell(lambda *what: self.moved.append(what))

    async def private(self, peer: str = "42", **more: Any) -> Any:
        place = Place(channel="telegram", account="1", kind="direct", chat=peer)
        return await self.gate.admit(identity(peer, **more), place)

    async def group(self, peer: str, chat: str = "-100", parent: str | None = None) -> Any:
        place = Place(channel="telegram", account="1", kind="group", chat=chat, parent=parent)
        return await self.gate.admit(identity(peer), place)


def identity(peer: str, **more: Any) -> Identity:
    return Identity(**({"channel": "telegram", "account": "1", "peer": peer, "name": "Alice"} | more))


@pytest.mark.attack(57)
async def test_a_stranger_is_told_how_to_ask_once_in_ten_minutes(tmp_path: Path) -> None:
    door = Door(tmp_path)
    hint = await door.private()
    assert isinstance(hint, Hint)
    asking = door.pairing.pending(door.clock)[0]
    assert f"{asking.code[:4]}-{asking.code[4:]}" in hint.text
    door.clock += 599
    assert isinstance(await door.private(), Silent)
    door.clock += 2
    assert isinstance(await door.private(), Hint)
    assert isinstance(await door.private("43", language="zh-CN"), Hint)
    assert isinstance(await door.private("44"), Hint)
    assert isinstance(await door.private("45"), Silent)
    assert isinstance(await door.group("46"), Silent)


async def test_an_approved_sender_is_a_user_of_his_own_or_somebodys(tmp_path: Path) -> None:
    door = Door(tmp_path)
    await door.private("42")
    asking = door.pairing.take(door.pairing.pending(door.clock)[0].code, door.clock)
    assert door.gate.approve(asking, None) == "telegram-42"
    admitted = await door.private("42")
    assert isinstance(admitted, Admitted)
    assert (admitted.actor.user, admitted.actor.role, admitted.actor.identity) == (
        "telegram-42",
        "user",
        "telegram:1:42",
    )
    await door.private("43", language="zh")
    other = door.pairing.take(door.pairing.pending(door.clock)[0].code, door.clock)
    assert door.gate.approve(other, "carol") == "carol"
    actor = (await door.private("43", language="zh")).actor
    assert (actor.user, actor.language) == ("carol", "zh")
    door.preferences.choose_language("carol", "en")
    assert (await door.private("43", language="zh")).actor.language == "en"
    assert door.moved == [("telegram:1:42", "telegram-42", "telegram-42"), ("telegram:1:43", "telegram-43", "carol")]


@pytest.mark.attack(58)
async def test_only_the_immutable_id_counts(tmp_path: Path) -> None:
    door = Door(tmp_path, allow_from=["12", 7], dm_policy="allowlist")
    for peer in ("12", "7"):
        assert isinstance(await door.private(peer), Admitted)
    for peer in ("1", "2", "1|2", "12 ", "Alice", "@alice", "*", "120"):
        assert isinstance(await door.private(peer, name="12"), Silent), peer
    door.links.tie("telegram:1:50", "alice", by="link")
    assert isinstance(await door.private("50"), Admitted)
    assert isinstance(await door.private("50", account="2"), Silent)
    assert isinstance(await door.private("50", channel="discord"), Hint)
    assert isinstance(await door.private("12", bot=True), Silent)


@pytest.mark.parametrize(
    ("policy", "listed", "stranger"),
    [
        ("pairing", Admitted, Hint), ("allowlist", Admitted, Silent), ("open", Admitted, Admitted),
        ("off", Silent, Silent),
    ],
)  # fmt: skip
async def test_policies_in_private(tmp_path: Path, policy: str, listed: type, stranger: type) -> None:
    door = Door(tmp_path, allow_from=["1"], dm_policy=policy)
    assert isinstance(await door.private("1"), listed)
    assert isinstance(await door.private("2"), stranger)


@pytest.mark.attack(59)
async def test_groups_are_listed_apart_and_their_members_too(tmp_path: Path) -> None:
    door = Door(
        tmp_path, allow_from=["1"],
        groups={"-100": {"allow_from": ["5"]}, "-200": {"allow_from": ["*"]}, "-300": {}},
    )  # fmt: skip
    door.links.tie("telegram:1:9", "alice", by="link")
    expected = {
        ("5", "-100"): True, ("1", "-100"): False, ("9", "-100"): False, ("6", "-100"): False,
        ("6", "-200"): True, ("1", "-300"): True, ("9", "-300"): True, ("6", "-300"): False, ("1", "-400"): False,
    }  # fmt: skip
    for (peer, chat), admitted in expected.items():
        assert isinstance(await door.group(peer, chat), Admitted if admitted else Silent), (peer, chat)
    assert isinstance(await door.group("5", "77", parent="-100"), Admitted)
    assert isinstance(await door.group("6", "-200", parent="-100"), Silent)
    everywhere = Door(tmp_path / "b", allow_from=["*"])
    assert isinstance(await everywhere.private("6"), Admitted)
    assert isinstance(await everywhere.group("6"), Silent)
    star = Door(tmp_path / "c", groups={"*": {"allow_from": ["*"]}, "-100": {"allow_from": ["5"]}})
    assert isinstance(await star.group("6", "-999"), Admitted)
    assert isinstance(await star.group("6", "-100"), Silent)
    off = Door(tmp_path / "d", groups={"*": {"allow_from": ["*"]}}, group_policy="off")
    assert isinstance(await off.group("6"), Silent)


async def test_linking_from_the_platform(tmp_path: Path) -> None:
    door = Door(tmp_path)
    code = door.links.offer("alice", door.clock)["code"]
    for _ in range(5):
        with pytest.raises(NotFound):
            await door.gate.link("WRNG-WRNG", identity("66"))
    with pytest.raises(RateLimited):
        await door.gate.link(code, identity("66"))
    assert await door.gate.link(code.lower(), identity("42")) == "alice"
    assert (await door.private("42")).actor.user == "alice"
    assert door.moved == [("telegram:1:42", "telegram-42", "alice")]
    door.users.add("alice", "admin")
    assert "admin" in (await door.private("42")).actor.scopes


def test_every_peer_has_a_name_that_users_may_have() -> None:
    assert user_of_peer("feishu", "ou_abc") == "feishu-ou_abc"
    assert user_of_peer("telegram", "-100") == "telegram--100"
    strange = user_of_peer("other", "a b/c" * 40)
    assert len(strange) <= 64 and "/" not in strange
