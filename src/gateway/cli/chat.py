"""`gateway chat`: the terminal channel, on the running gateway or on one of its own.

With `--url` it goes to any gateway, with GATEWAY_TOKEN, or the admin token where that address is
the one that runs on this state folder; without, to the one that runs on this folder; where none runs,
one is started in this process on a free loopback port and leaves with the conversation.
"""

import asyncio
import contextlib
import dataclasses
import locale
import os
import secrets
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption

app = typer.Typer(rich_markup_mode=None, add_completion=False)
PATIENCE_SECONDS = 60.0
STARTING_SECONDS = 20.0
OTHERS_GATEWAYS = 3
"""How often a question may find that the gateway it was to be put to has just left."""


@app.command()
def chat(
    text: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]", help="One question.")] = None,
    session: Annotated[str | None, typer.Option(metavar="KEY", help="The conversation to go on with.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="ws://…", help="Another gateway; its token in GATEWAY_TOKEN.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as one JSON line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Talk to the assistant. With TEXT, or text on stdin: one turn, the answer on stdout."""
    if url is not None and urlsplit(url).scheme not in ("ws", "wss"):
        raise Failure(f"--url {url}: not a WebSocket address (ws://… or wss://…)", exit_code=2)
    said = " ".join(text) if text else None
    if said is None and not sys.stdin.isatty():
        said = _decoded(sys.stdin.buffer.read()).rstrip("\r\n")  # the end of the last line, not something said
    elif said is not None:
        said = _decoded(os.fsencode(said)) if os.name == "posix" else said  # bytes that are no text in this locale
    if said is not None and not said.strip():
        raise Failure("there is nothing to say", exit_code=2)
    if said is None and as_json:
        raise Failure("--json needs TEXT, or text on stdin", exit_code=2)
    try:
        code = asyncio.run(_until_done(_chat(said, session, url, as_json, config)))
    except KeyboardInterrupt:  # between two prompts, where nobody listens for it
        code = 0
    raise typer.Exit(code)


def _decoded(data: bytes) -> str:
    """What was piped: UTF-8, else as this system writes (a Chinese Windows: GBK), whatever is no text replaced."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(locale.getpreferredencoding(False), "replace")


async def _until_done(work: Coroutine[Any, Any, int]) -> int:
    """Run `work`; SIGTERM and Ctrl-C end it cleanly."""
    from channels.cli import LinkRefused, RpcFailed

    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 0
    except ExceptionGroup as group:
        known: Exception | None = group.subgroup((LinkRefused, RpcFailed, Failure, OSError))
        while isinstance(known, ExceptionGroup):
            known = known.exceptions[0]
        if isinstance(known, Failure | OSError):  # the disk is full, or who read our output is gone
            raise known from None
        if known is None:
            raise
        raise Failure(str(known)) from None


async def _chat(said: str | None, session: str | None, url: str | None, as_json: bool, config: str | None) -> int:
    """Asked again where the gateway left that another `gateway chat` had started: the key makes it one question."""
    from channels.cli.link import LinkUnreachable

    key = secrets.token_hex(16)
    for again in range(OTHERS_GATEWAYS if said is not None and url is None else 0):
        try:
            return await _attempt(said, key, session, url, as_json, config)
        except ExceptionGroup as group:
            if group.subgroup(LinkUnreachable) is None:
                raise
            await asyncio.sleep(0.2 * (again + 1))
    return await _attempt(said, key, session, url, as_json, config)


async def _attempt(
    said: str | None, key: str, session: str | None, url: str | None, as_json: bool, config: str | None
) -> int:
    from channels.cli.link import Link

    async with _gateway(url, config) as (address, token, certificate, history):
        link = Link(address, token, certificate=certificate, patience=None if said is None else PATIENCE_SECONDS)
        link.session = session or ""
        code = 1
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(link.run())
            code = await _converse(link, said, key, as_json, history)
            running.cancel()
        return code


async def _converse(link: Any, said: str | None, key: str, as_json: bool, history: Path | None) -> int:
    from channels.cli.once import ask_once
    from channels.cli.words import language

    screen = None
    if said is None or (sys.stdout.isatty() and not as_json):
        from channels.cli.screen import Screen, terminal

        screen = Screen(terminal(), language())
    if said is not None:
        return await ask_once(
            link, said, key, as_json=as_json, screen=screen, out=sys.stdout, errors=sys.stderr,
            language=language(),
        )  # fmt: skip
    from channels.cli.interactive import Conversation

    assert screen is not None
    return await Conversation(link, screen, history).run()


@contextlib.asynccontextmanager
async def _gateway(url: str | None, config: str | None) -> AsyncIterator[tuple[str, str, Any, Path | None]]:
    """Address, token, TLS context and history file of the gateway to talk to."""
    token = os.environ.get("GATEWAY_TOKEN", "")
    from gateway.cli.running import admin_token, find_running, serves, trusting
    from gateway.settings import gateway_home, load_settings

    if url is not None:
        if not token and serves(gateway_home(os.environ), url):
            with contextlib.suppress(OSError):
                token = admin_token(gateway_home(os.environ))
        yield websocket_address(url), token, None, None
        return
    loaded = load_settings(config)
    loaded.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    history = loaded.home / "chat_history"
    certificate = loaded.settings.server.tls.cert
    until = time.monotonic() + STARTING_SECONDS
    while True:
        running = await asyncio.to_thread(find_running, loaded.home)
        if running is not None:
            context: ssl.SSLContext | None = trusting(certificate) if running.url.startswith("https") else None
            yield running.websocket_url, token or _own_token(admin_token, loaded.home), context, history
            return
        try:
            async with _own_gateway(loaded) as address:
                yield address, token or _own_token(admin_token, loaded.home), None, history
                return
        except ExceptionGroup as group:
            taken = group.subgroup(FolderTaken)
            if taken is None:
                raise
            if time.monotonic() > until:
                raise Failure(str(taken.exceptions[0])) from None
        await asyncio.sleep(0.2)  # it began at the same time, or is just leaving


class FolderTaken(Exception):
    """Another process has this state folder; the message says which."""


def websocket_address(url: str) -> str:
    """`ws://host:port` names the gateway; its WebSocket is at `/ws`."""
    parts = urlsplit(url)
    return url if parts.path not in ("", "/") else urlunsplit(parts._replace(path="/ws"))


def _own_token(read: Any, home: Path) -> str:
    try:
        return str(read(home))
    except OSError as error:
        raise Failure(f"cannot read the admin token in {home}: {error.strerror or error}") from None


@contextlib.asynccontextmanager
async def _own_gateway(loaded: Any) -> AsyncIterator[str]:
    """A gateway in this process, on a free loopback port, for as long as the conversation lasts."""
    from agent.sessions.lock import FolderInUse
    from gateway.app import Stop, serve
    from gateway.cli.running import read_running_file
    from gateway.observability.logs import Logs
    from gateway.observability.redaction import Redactor, secrets_of

    class Told(Stop):
        """Stops when it is told; the signals belong to the terminal."""

        def listen(self) -> None:
            pass

    server = loaded.settings.server.model_copy(
        update={"host": "127.0.0.1", "port": 0, "tls": type(loaded.settings.server.tls)()}
    )
    settings = loaded.settings.model_copy(update={"server": server})
    redactor = Redactor(secrets_of(settings))
    logs = Logs(settings.logging.level, "json", folder=loaded.home / "logs", redactor=redactor, screen=False)
    stop, ready = Told(), asyncio.Event()
    problems: list[tuple[str, Exception]] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            served = tasks.create_task(
                serve(
                    dataclasses.replace(loaded, settings=settings), say=lambda _line: ready.set(), stop=stop,
                    complain=lambda text, error: problems.append((text, error)),
                )
            )  # fmt: skip
            begun = tasks.create_task(ready.wait())
            await asyncio.wait([served, begun], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            running = read_running_file(loaded.home)
            if served.done() or running is None:
                if any(isinstance(error, FolderInUse) for _, error in problems):
                    raise FolderTaken(problems[0][0])
                why = f": {problems[0][0]}" if problems else ""
                raise Failure(f"no gateway runs, and none could be started here{why}")
            try:
                yield running.websocket_url
            except BaseException:  # nobody waits for the rest: what runs is cut at once, as by a clean stop
                stop.hurry.set()
                raise
            finally:
                stop.asked.set()
                await asyncio.wait([served])  # the group would cancel it, and the log would end as in a crash
    finally:
        logs.close()
