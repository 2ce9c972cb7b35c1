"""Administration: a method and its params, by the running gateway or, where none runs, directly.

One code path for both: the same JSON-RPC method, as the owner. Above: the commands.
"""

import asyncio
import time
from typing import Any

from agent.sessions.lock import FolderInUse
from bus.errors import GatewayError
from gateway.cli.failure import Failure
from gateway.cli.running import admin_token, find_running, http
from gateway.identity.document import CorruptDocument
from gateway.settings import Loaded, load_settings

STARTING_SECONDS = 8.0
"""How long to wait for a gateway that has the folder but is not ready."""


class Office:
    """Where a command gets its answers. The settings are read once."""

    def __init__(self, config: str | None = None) -> None:
        """Raises ConfigurationError."""
        self.loaded: Loaded = load_settings(config)
        self.certificate = self.loaded.settings.server.tls.cert
        self.running = find_running(self.loaded.home)

    def ask(self, method: str, *, patience: float = 30.0, **params: Any) -> Any:
        """The result of `method`; params that are None are left out. Raises Failure with the reason.

        `patience`: how many seconds a running gateway has for it.
        """
        given = {name: value for name, value in params.items() if value is not None}
        until = time.monotonic() + STARTING_SECONDS
        while self.running is None:
            try:
                return asyncio.run(self._direct(method, given))
            except FolderInUse as error:  # one is just starting or stopping
                if time.monotonic() > until:
                    raise Failure(str(error)) from None
                time.sleep(0.2)
                self.running = find_running(self.loaded.home)
        return self._remote(method, given, patience)

    def _remote(self, method: str, params: dict[str, Any], patience: float) -> Any:
        assert self.running is not None
        try:
            token = admin_token(self.loaded.home)
        except OSError as error:
            raise Failure(f"cannot read the admin token: {error.strerror or error}") from None
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            _, answer = http(
                self.running.url + "/api/v1/rpc", body=request, token=token, certificate=self.certificate,
                seconds=patience,
            )  # fmt: skip
        except OSError as error:
            hint = " (is --config the file it runs with?)" if "CERTIFICATE" in str(error) else ""
            raise Failure(f"the running gateway (pid {self.running.pid}) did not answer: {error}{hint}") from None
        if isinstance(answer, dict) and "result" in answer:
            return answer["result"]
        error_body = answer.get("error", {}) if isinstance(answer, dict) else {}
        raise _failure(error_body.get("code"), str(error_body.get("message") or "the gateway's answer makes no sense"))

    async def _direct(self, method: str, params: dict[str, Any]) -> Any:
        from gateway.app import open_offline

        try:
            async with open_offline(self.loaded) as call:
                return await call(method, params)
        except GatewayError as error:
            raise _failure(error.code, error.message) from None
        except CorruptDocument as error:
            raise Failure(str(error)) from None


def _failure(code: Any, message: str) -> Failure:
    return Failure(message, exit_code=2 if code in (-32602, 1000) else 1)
