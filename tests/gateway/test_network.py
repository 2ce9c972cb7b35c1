"""Addresses behind proxies, names of hosts, origins."""

from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from bus.errors import BadParameters, Forbidden
from gateway.network import Doors, is_loopback, local_url, web_url
from gateway.settings_server import ServerSettings


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.attack(7)
def test_only_a_trusted_proxy_says_who_is_behind_it() -> None:
    plain = Doors(ServerSettings())
    forged = headers(("X-Forwarded-For", "10.9.9.9"))
    assert plain.peer("1.2.3.4", forged) == "1.2.3.4"
    behind = Doors(ServerSettings(trusted_proxies=["10.0.0.0/8", "::1"]))
    assert behind.peer("1.2.3.4", forged) == "1.2.3.4"
    chain = headers(("X-Forwarded-For", "6.6.6.6, 7.7.7.7"), ("X-Forwarded-For", "10.0.0.5"))
    assert behind.peer("10.0.0.1", chain) == "7.7.7.7"
    assert behind.peer("10.0.0.1", headers()) == "10.0.0.1"
    assert behind.peer("::1", chain) == "7.7.7.7"


@pytest.mark.attack(4)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:8080", "LOCALHOST", "gw.example", "192.168.1.5"])
def test_names_of_our_own(host: str) -> None:
    doors = Doors(ServerSettings(allowed_origins=["https://gw.example"]))
    assert doors.check_host(headers(("Host", host)), "192.168.1.5") == host


@pytest.mark.attack(4)
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil", "127.0.0.2", "gw.example.evil", "10.0.0.1", "x@localhost"]
)
def test_names_of_others(host: str) -> None:
    doors = Doors(ServerSettings(host="0.0.0.0", allowed_origins=["https://gw.example"]))
    with pytest.raises((Forbidden, BadParameters)):
        doors.check_host(headers(("Host", host)), "192.168.1.5")


@pytest.mark.attack(3)
def test_origins() -> None:
    doors = Doors(ServerSettings(allowed_origins=["https://chat.example"]))
    doors.check_origin(headers(("Origin", "http://127.0.0.1:8080")), "127.0.0.1:8080", "http")
    doors.check_origin(headers(("Origin", "HTTPS://Chat.Example")), "127.0.0.1:8080", "http")
    doors.check_origin(headers(("Origin", "https://gw")), "gw:443", "https")
    for origin in ("null", "", "http://127.0.0.1", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "file://",
                   "http://127.0.0.1:8080/", "http://127.0.0.1:x", "http://u@127.0.0.1:8080"):  # fmt: skip
        with pytest.raises(Forbidden):
            doors.check_origin(headers(("Origin", origin)), "127.0.0.1:8080", "http")
    with pytest.raises(Forbidden):
        doors.check_origin(headers(("Origin", "http://a"), ("Origin", "http://a")), "a", "http")
    proxied = Doors(ServerSettings(tls_terminated_by_proxy=True))
    proxied.check_origin(headers(("Origin", "https://gw.example")), "gw.example", "http")


def test_addresses() -> None:
    doors = Doors(ServerSettings(allowed_ips=["10.0.0.0/8", "2001:db8::/32"]))
    for good in ("10.1.1.1", "::ffff:10.1.1.1", "2001:db8::1"):
        doors.check_address(good)
    for bad in ("11.0.0.1", "::1", "nonsense", ""):
        with pytest.raises(Forbidden):
            doors.check_address(bad)
    assert is_loopback("127.5.5.5") and is_loopback("::1") and is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("128.0.0.1") and not is_loopback("evil")


@pytest.mark.parametrize(
    ("settings", "local", "web"),
    [
        ({}, "http://127.0.0.1:80", "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:80", "http://[::1]:80"),
        # a page of somebody's own, on this machine: no place for a link
        ({"allowed_origins": ["https://app.example"]}, "http://127.0.0.1:80", "http://127.0.0.1:80"),
        (
            {"tls_terminated_by_proxy": True, "allowed_origins": ["http://busgate:8080", "https://chat.example"]},
            "http://127.0.0.1:80", "https://chat.example",
        ),
        (
            {"host": "0.0.0.0", "tls": {"cert": "c", "key": "k"}, "allowed_origins": ["https://chat.example"]},
            "https://127.0.0.1:80", "https://chat.example",
        ),
        ({"host": "192.168.1.5"}, "http://192.168.1.5:80", "http://192.168.1.5:80"),
    ],
)  # fmt: skip
def test_where_people_find_the_web_chat(settings: dict[str, Any], local: str, web: str) -> None:
    """An invitation for somebody elsewhere led to http://127.0.0.1, behind a proxy too."""
    made = ServerSettings(**settings)
    assert (local_url(made, 80), web_url(made, 80)) == (local, web)
