"""What comes to the port and is no request, or not quite one: the gateway's own words, and no noise in the log."""

import json
import logging
from pathlib import Path

import pytest

from gateway.http.webui import takes_gzip
from tests.gateway.edge.harness import bearer, plain, running, status_of


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET\x00\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer SECRET" + b"x" * 9000 + b"\r\n\r\n", 400),
        (b"GET /?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_is_refused_as_everything_else_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    """It named the library and its version, and a traceback of a kilobyte went into the log for each."""
    async with running(tmp_path) as gateway:
        with caplog.at_level(logging.INFO):
            answer = await plain(gateway.port, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status
    assert {"code", "message", "retryable", "trace_id"} <= set(json.loads(body)["error"])
    for line in (b"Server: gateway", b"X-Content-Type-Options: nosniff", b"X-Frame-Options: DENY"):
        assert line in head
    assert b"Python" not in answer and b"SECRET" not in answer
    told = [record for record in caplog.records if "no proper HTTP request" in record.getMessage()]
    assert len(told) == 1 and told[0].levelno == logging.INFO
    assert "SECRET" not in caplog.text and "Traceback" not in caplog.text


async def test_a_broken_part_of_a_form_is_the_senders_mistake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as gateway:
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x00b"\r\n\r\nx\r\n--b--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        async with gateway.http.post(
            gateway.url + "/api/v1/media", data=part, headers=bearer("alice") | kind
        ) as response:
            assert response.status == 400 and (await response.json())["error"]["code"] == 1000
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip, br", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("", False),
    ],
)
def test_who_takes_gzip(header: str, takes: bool) -> None:
    assert takes_gzip(header) is takes
