"""Why no code came, in words: nothing listens, no TLS where it was asked for, a certificate that nobody vouches for."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from bridge.pairing import PairingFailed, request_code


@contextmanager
def listening(context: ssl.SSLContext | None) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # the handshake is meant to fail
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def why(url: str) -> str:
    with pytest.raises(PairingFailed) as caught:
        request_code(url, "laptop")
    return str(caught.value)


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        text = why(f"ws://127.0.0.1:{taken.getsockname()[1]}/v1/tunnel")
    assert "connection refused" in text and "Errno" not in text


def test_there_is_no_tls() -> None:
    with listening(None) as port:
        text = why(f"wss://127.0.0.1:{port}/v1/tunnel")
    assert "no TLS at that port (ws://" in text and "_ssl.c" not in text


def test_a_certificate_that_nobody_vouches_for() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with listening(context) as port:
        text = why(f"wss://127.0.0.1:{port}/v1/tunnel")
    assert "certificate is not trusted" in text and "_ssl.c" not in text
