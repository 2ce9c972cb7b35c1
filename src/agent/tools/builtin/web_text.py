"""Text out of what a web server gave: HTML through a worker process, plain text as it is.

Used by `web_fetch.py`; the worker is `web_extract.py`. A worker that hangs, dies or eats memory takes nobody along.
"""

import asyncio
import os
import sys

import orjson

from agent.llm.fair import FairShare
from agent.tools.registry import ToolProblem

WORKER_SECONDS = 20.0
"""For one page, the wait for a worker included."""
WORKERS = FairShare(4)
"""Processes at once, over all people, who take turns: each has a Python and a parser of its own in memory."""
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "SYSTEMROOT")


async def readable(
    body: bytes, mime: str, charset: str | None, seconds: float, user: str = ""
) -> tuple[str, str]:  # fmt: skip
    """Title and text, for `user`. Raises ToolProblem for what is not text, and where the worker fails."""
    if mime in ("text/html", "application/xhtml+xml") or (not mime and body.lstrip()[:1] == b"<"):
        return await _extract(body, charset, min(seconds, WORKER_SECONDS), user)
    if mime.startswith("text/") or mime.endswith(("json", "xml", "javascript", "yaml")) or mime == "":
        return "", decoded(body, charset)
    raise ToolProblem(f"The page is not text but {mime[:100] or 'unknown'} ({len(body)} bytes).")


def decoded(body: bytes, charset: str | None) -> str:
    """Bytes as text, whatever the server claims."""
    try:
        return body.decode(charset or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


async def _extract(body: bytes, charset: str | None, seconds: float, user: str) -> tuple[str, str]:
    try:
        async with asyncio.timeout(seconds), WORKERS.slot(user):
            found = orjson.loads(await _worked(body, charset))
        return str(found["title"]), str(found["text"])
    except TimeoutError:
        raise ToolProblem("The page could not be read in time.") from None
    except (ValueError, KeyError, TypeError, OSError):
        raise ToolProblem("The page could not be read.") from None


async def _worked(body: bytes, charset: str | None) -> bytes:
    """What a worker makes of it. Cancelled, it takes the worker along."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.tools.builtin.web_extract", charset or "",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    try:
        out, _ = await worker.communicate(body)
        return out
    finally:
        if worker.returncode is None:
            worker.kill()
            await asyncio.shield(worker.wait())
