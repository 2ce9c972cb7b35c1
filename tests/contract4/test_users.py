"""Users of the configuration are what it says, and nobody below them acts as one of them."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.gateway_process import Client, Refused, gateway_process

ROOT, ADMIN, VIEWER, PHONE = ("root-" + "0" * 40, "admin-" + "1" * 40, "viewer-" + "2" * 40, "phone-" + "3" * 40)
AUTH = {"tokens": [
    {"user": "root", "role": "owner", "token": ROOT}, {"user": "adam", "role": "admin", "token": ADMIN},
    {"user": "vera", "role": "viewer", "token": VIEWER}, {"user": "root", "role": "service", "token": PHONE},
]}  # fmt: skip


async def _code(work: Any) -> int:
    with pytest.raises(Refused) as refused:
        await work
    return int(refused.value.code)


@pytest.mark.attack(9)
@pytest.mark.attack(37)
async def test_an_admin_does_not_become_an_owner_of_the_configuration(tmp_path: Path) -> None:
    async with (
        gateway_process(tmp_path / "home", {"auth": AUTH}) as gateway, Client(gateway.ws, ROOT) as root,
        Client(gateway.ws, ADMIN) as adam,
    ):  # fmt: skip
        for method, params in (
            ("token.create", {"user": "root", "role": "user"}), ("user.invite", {"user": "root"}),
            ("pairing.approve", {"code": "ABCDEFGH", "user": "root"}), ("user.remove", {"user": "root"}),
        ):  # fmt: skip
            assert await _code(adam.call(method, **params)) == 1002, method
        assert [r["event"] for r in (await root.call("audit.tail"))["records"] if r.get("refused")] == [
            "token.create", "user.invite", "pairing.approve", "user.remove",
        ]  # fmt: skip
        await root.call("token.create", user="root", role="user")  # his own business; he is an owner still
        await adam.call("user.add", user="vera")
        assert await _code(adam.call("user.invite", user="root")) == 1002
        roles = {user["user"]: user["role"] for user in (await adam.call("user.list"))["users"]}
        assert (roles["root"], roles["adam"]) == ("owner", "admin")


async def test_who_stands_in_the_configuration_is_changed_there(tmp_path: Path) -> None:
    async with (
        gateway_process(tmp_path / "home", {"auth": AUTH}) as gateway, Client(gateway.ws, ROOT) as root,
        aiohttp.ClientSession() as http,
    ):  # fmt: skip
        assert await _code(root.call("user.remove", user="vera")) == -32602
        assert await _code(root.call("token.rotate", id="static_0")) == -32602
        assert await _code(root.call("user.remove", user="nobody")) == 1003
        code = (await root.call("user.invite", user="vera"))["code"]
        async with http.post(gateway.url + "/api/v1/login", json={"code": code}) as response:
            assert (await response.json())["role"] == "viewer"  # and no more than the configuration gives her


@pytest.mark.attack(9)
async def test_a_token_that_holds_less_ties_no_account_that_would_hold_more(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home", {"auth": AUTH}) as gateway:
        async with Client(gateway.ws, ROOT) as root:
            made = await root.call("token.create", user="carol", role="user", scopes=["chat"])
            whole = await root.call("token.create", user="carol", role="user")
            assert (await root.call("identity.link"))["code"]
        async with Client(gateway.ws, PHONE) as phone, Client(gateway.ws, made["token"]) as less:
            assert await _code(phone.call("identity.link")) == 1002  # an owner's, but no owner
            assert await _code(less.call("identity.link")) == 1002
        async with Client(gateway.ws, whole["token"]) as carol:
            assert (await carol.call("identity.link"))["code"]
