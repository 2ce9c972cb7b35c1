"""How a thread that writes tells the event loop what came of it. Below `database.py` and `audit/trail.py`."""

import asyncio


def settle_soon(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]", error: Exception | None = None
) -> None:
    """From another thread: whoever awaits `future` goes on, or gets `error`. Never raises."""

    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass  # the loop is gone: nobody waits any more
