"""Looking up names for the web tools, in threads of their own.

The system's resolver blocks for as long as a slow name server likes. In the loop's own threads, of which there are
few, that would hold up whatever else uses them: files, databases, other people's turns.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_threads = ThreadPoolExecutor(16, thread_name_prefix="names")


class Names(AbstractResolver):
    """For `aiohttp.TCPConnector`. Raises OSError where there is no such name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return await asyncio.get_running_loop().run_in_executor(_threads, _look_up, host, port, family)

    async def close(self) -> None:
        """Nothing is open."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    out = []
    for kind, _, protocol, _, address in found:
        # With the zone of a link-local address, which nothing else writes into it.
        number, service = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        out.append(
            ResolveResult(hostname=host, host=number, port=int(service), family=kind, proto=protocol, flags=_NUMERIC)
        )
    return out
