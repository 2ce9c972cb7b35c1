"""An MCP server behind a URL: Streamable HTTP and SSE, carried by the SDK's transports.

Imported only when such a server is configured, because the SDK costs half a second and 35 MB. Only its transports
are used: payloads stay raw dicts, and `session.py` speaks the protocol. The SDK's scopes are entered and left in one
task of our own, so that what they cancel is never our owner.
"""

import asyncio
import logging
import math
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import anyio
import httpx2
from mcp.client import sse as sse_module
from mcp.client import streamable_http as streamable_module
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client, sse_within_origin
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter

from bridge.servers.jsonrpc import JsonObject
from bridge.servers.lines import MAX_LINE
from bridge.servers.link import Closed, LinkLost, Message, Receive, Unanswered, Unreadable
from bridge.servers.surrogates import whole_characters
from bridge.settings import McpServerSettings

_CONNECT_SECONDS = 10.0
_GIVEN_UP_SECONDS = 30.0
"""A request that nobody waits for any more may still be on its way for so long; afterwards it is forgotten."""
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_FORGOTTEN = ("Session terminated", "Session not found")
_UNREACHABLE = "the server can't be reached"
_PARSE_ERROR = -32700
_UNREADABLE = ("Failed to parse JSON response", "Failed to parse SSE message")
"""What the transport says, with a piece of the answer in it, which is nobody's business."""
_NO_ANSWER = ("SSE stream ended", "SSE stream failed", "server answered a request with 202")

# `sse_client` has no parameter for the size of an event: above 1 MiB it would end the connection and all its calls
vars(sse_module)["sse_within_origin"] = partial(sse_within_origin, max_event_size=MAX_LINE)


class _Reader:
    """`jsonrpc_message_adapter` for the transport of Streamable HTTP: half a character costs no message."""

    def validate_json(self, data: str | bytes, **options: Any) -> Any:
        """Raises pydantic's ValidationError."""
        try:
            return jsonrpc_message_adapter.validate_json(data, **options)
        except ValueError:
            text = data.encode() if isinstance(data, str) else data
            whole = whole_characters(text)
            if whole == text:
                raise
            return jsonrpc_message_adapter.validate_json(whole, **options)


vars(streamable_module)["jsonrpc_message_adapter"] = _Reader()

for _name in ("mcp", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # stacks and URLs; our own log has the reason in one line


class HttpLink:
    """One connection. Made by `open_http`."""

    def __init__(self, settings: McpServerSettings, receive: Receive, closed: Closed, auth: Any = None) -> None:
        self._settings = settings
        self._auth = auth
        self._receive = receive
        self._closed = closed
        self._write: Any = None
        self._open = asyncio.Event()
        self._reason: str | None = None
        self._version = ""
        self._modern = False
        self._task: asyncio.Task[None] | None = None
        self._unanswered: dict[Any, float] = {}
        """Requests by their ids: when each was given up, infinity while it is waited for."""

    async def start(self) -> None:
        """Raises LinkLost."""
        self._task = asyncio.get_running_loop().create_task(self._carry(), name=f"http:{self._settings.name}")
        await self._open.wait()
        if self._reason is not None:
            raise LinkLost(self._reason)

    async def send(self, message: JsonObject) -> None:
        """Raises LinkLost."""
        if self._reason is not None:
            raise LinkLost(self._reason)
        if "method" in message and "id" in message:
            self._forget()
            self._unanswered[message["id"]] = math.inf
        elif message.get("method") == "notifications/cancelled" and message["params"]["requestId"] in self._unanswered:
            self._unanswered[message["params"]["requestId"]] = time.monotonic()
        metadata = ClientMessageMetadata(headers=self._headers(message)) if self._version else None
        try:
            await self._write.send(SessionMessage(jsonrpc_message_adapter.validate_python(message), metadata))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            await asyncio.sleep(0)  # the reason is told by the task that carries
            raise LinkLost(self.reason or "the connection was closed") from None

    @property
    def reason(self) -> str | None:
        """Why the connection ended; None while it stands."""
        return self._reason

    def _headers(self, message: JsonObject) -> dict[str, str]:
        headers = {"mcp-protocol-version": self._version}
        method = message.get("method")
        if self._modern and isinstance(method, str):
            headers["mcp-method"] = method
            name = message.get("params", {}).get(_NAMED.get(method, ""))
            if isinstance(name, str):
                from mcp.shared.inbound import encode_header_value

                headers["mcp-name"] = encode_header_value(name)
        return headers

    def quick(self) -> None:
        """Every message is a request of its own, which is waited for."""

    def adopt(self, version: str, *, modern: bool) -> None:
        """Each message from now on names the version (and, in the modern era, its method) in headers."""
        self._version, self._modern = version, modern

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _carry(self) -> None:
        reason = "the server closed the connection"
        try:
            async with AsyncExitStack() as stack:
                read, self._write = await stack.enter_async_context(await self._transport(stack))
                self._open.set()
                async for item in read:
                    self._hear(item)
        except asyncio.CancelledError:
            reason = "stopped"
        except Exception as error:  # the SDK ends in nests of exception groups; the reason is told and nothing else
            reason = _describe(error)
            self._forget()
            if reason == _UNREACHABLE and len(self._unanswered) == 1:
                # nobody listened: what was being sent has not arrived anywhere
                self._receive(Unanswered(self._unanswered.popitem()[0], reason, seen=False))
        finally:
            self._end(reason)

    def _forget(self) -> None:
        """No answer comes to what was given up long ago; it would be kept for as long as the connection."""
        before = time.monotonic() - _GIVEN_UP_SECONDS
        for number in [number for number, given_up in self._unanswered.items() if given_up <= before]:
            del self._unanswered[number]

    def _end(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._open.set()
            self._closed(reason)

    async def _transport(self, stack: AsyncExitStack) -> AbstractAsyncContextManager[Any]:
        settings = self._settings
        assert settings.url is not None
        headers = {name: secret.get_secret_value() for name, secret in settings.headers.items()}
        if settings.kind == "sse":
            return sse_module.sse_client(
                settings.url, headers=headers, timeout=_CONNECT_SECONDS, sse_read_timeout=86_400.0
            )
        timeout = httpx2.Timeout(_CONNECT_SECONDS, read=None)
        client = await stack.enter_async_context(
            create_mcp_http_client(headers=headers, timeout=timeout, auth=self._auth)
        )
        return streamable_http_client(settings.url, http_client=client, max_sse_event_size=MAX_LINE)

    def _hear(self, item: Any) -> None:
        message = item.message if isinstance(item, SessionMessage) else None
        if isinstance(message, JSONRPCError | JSONRPCResponse):
            self._unanswered.pop(message.id, None)
        if isinstance(message, JSONRPCError):
            self._refused(message)
        elif message is not None and (plain := _plain(message)) is not None:
            self._receive(Message(plain))

    def _refused(self, message: JSONRPCError) -> None:
        """The server's error, or the transport's own in its clothes."""
        error = message.error
        if error.code == -32600 and error.message in _FORGOTTEN:
            # the server was restarted and refuses the old session: it has not looked at the request
            self._receive(Unanswered(message.id, "the server has forgotten the session", seen=False))
            self._end("the server has forgotten the session")
        elif error.code == _PARSE_ERROR and error.message.startswith(_UNREADABLE):
            self._receive(Unreadable(message.id))
        elif error.message.startswith(_NO_ANSWER):
            self._receive(Unanswered(message.id, error.message, seen=True))
        else:
            plain: JsonObject = {"code": error.code, "message": error.message}
            if error.data is not None:
                plain["data"] = error.data
            self._receive(Message({"jsonrpc": "2.0", "id": message.id, "error": plain}))


def _plain(message: Any) -> JsonObject | None:
    """A message of the SDK's as a dict; the result itself is not copied."""
    if isinstance(message, JSONRPCResponse):
        return {"jsonrpc": "2.0", "id": message.id, "result": message.result}
    if isinstance(message, JSONRPCRequest):
        return {"jsonrpc": "2.0", "id": message.id, "method": message.method, "params": message.params or {}}
    if isinstance(message, JSONRPCNotification):
        return {"jsonrpc": "2.0", "method": message.method, "params": message.params or {}}
    return None


def _describe(error: BaseException) -> str:
    """A reason for people. The URL may hold a secret and is left out."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, httpx2.HTTPStatusError):
        return f"the server answered HTTP {error.response.status_code}"
    if isinstance(error, httpx2.ConnectError):
        return _UNREACHABLE
    if isinstance(error, httpx2.TimeoutException):
        return "the server did not answer in time"
    return type(error).__name__


async def open_http(settings: McpServerSettings, receive: Receive, closed: Closed, auth: Any = None) -> HttpLink:
    """Connect, with the `httpx2.Auth` of whoever signed in. Raises LinkLost."""
    link = HttpLink(settings, receive, closed, auth)
    try:
        await link.start()
    except BaseException:  # cancelled, too: what was opened so far must not stay
        await link.close()
        raise
    return link
