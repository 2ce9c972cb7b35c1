"""An HTTP server that answers what it is told: model endpoints and platforms for the wizard and the doctor."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LyingEndpoint:
    """`answers` by path: a status and a JSON body (or a text). `seen` are the paths and tokens asked with."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.seen: list[tuple[str, str]] = []
        self.url = ""


@contextmanager
def lying_endpoint() -> Iterator[LyingEndpoint]:
    """Serve on loopback while the block runs."""
    endpoint = LyingEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            endpoint.seen.append((self.path, self.headers.get("Authorization", "")))
            status, body = endpoint.answers.get(self.path, (404, {"error": "not here"}))
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
