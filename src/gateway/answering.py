"""From a parsed request to its response: what every transport of JSON-RPC does alike.

Above are the sockets and the HTTP route, below the method table. An error nobody foresaw is logged
with its trace id, and the client learns the id and nothing else.
"""

import asyncio
import logging

from bus.context import new_trace_id, trace_id
from bus.errors import GatewayError
from bus.events import JsonObject
from gateway import protocol
from gateway.handlers.call import Call
from gateway.handlers.dispatch import Dispatcher
from gateway.protocol import Entry, Peer, Refusal, RpcError

log = logging.getLogger("gateway.rpc")


async def answer(entry: Entry, call: Call, dispatcher: Dispatcher, peer: Peer) -> JsonObject:
    """The response to one entry; made for a notification too, where the caller drops it."""
    trace_id.set(new_trace_id())
    if isinstance(entry, Refusal):
        return protocol.failure(entry.id, entry.error)
    try:
        return protocol.result(entry.id, await dispatcher.call(entry.method, entry.params, call))
    except (GatewayError, RpcError) as error:
        return protocol.failure(entry.id, error)
    except Exception as error:  # a handler's mistake must cost one request, not the connection
        log.exception("%s failed", entry.method)
        return protocol.failure(entry.id, error)
    finally:
        if entry.wants_reply:
            peer.finished(entry.id)


async def answer_batch(
    entries: tuple[Entry, ...], calls: list[Call], dispatcher: Dispatcher, peer: Peer
) -> list[JsonObject]:
    """The responses to a batch, in its order, without those to notifications."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(answer(entry, call, dispatcher, peer)) for entry, call in zip(entries, calls, strict=True)
        ]
    return [task.result() for entry, task in zip(entries, tasks, strict=True) if entry.wants_reply]
