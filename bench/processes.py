"""The processes of a bench: started, asked for their port, measured, ended."""

import asyncio
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

TOKEN = "bench-token-0123456789abcdef0123456789abcdef"
ROOT = Path(__file__).resolve().parent.parent


def user_token(number: int) -> str:
    """The token of the bench's user `u<number>`."""
    return f"bench-user-{number:04d}-0123456789abcdef0123456789abcdef"


def raise_file_limit() -> None:
    """Thousands of sockets need thousands of descriptors, here and in the children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(slots=True)
class Child:
    """A process under measurement."""

    url: str
    process: psutil.Process
    ready_seconds: float = 0.0

    def cpu(self) -> float:
        """Seconds on a processor so far, of all threads that live; to the nanosecond where the kernel counts so."""
        try:
            tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except (OSError, ValueError, IndexError):
            times = self.process.cpu_times()
            return float(times.user + times.system)

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(self.process.memory_info().rss)


def environment(**more: str) -> dict[str, str]:
    """A clean environment with our sources on the path."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return kept | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1"} | more


@contextlib.asynccontextmanager
async def printing_its_port(*arguments: str) -> AsyncIterator[Child]:
    """A child whose first line is its port."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT
    )
    try:
        assert child.stdout is not None
        port = int(await child.stdout.readline())
        yield Child(f"http://127.0.0.1:{port}", psutil.Process(child.pid))
    finally:
        child.terminate()
        await child.wait()


@contextlib.asynccontextmanager
async def gateway(
    model_url: str | None, *, home: Path | None = None, extra: str = "", port: int = 0, users: int = 0,
    mode: str = "single",
) -> AsyncIterator[Child]:  # fmt: skip
    """A gateway as it is started by a person, with one model. `users` more have the token `user_token(number)`."""
    with tempfile.TemporaryDirectory() as folder:
        where = home or Path(folder)
        models = f'''
models: [{{name: bench, base_url: "{model_url}/v1", api_key: bench, model: bench}}]
'''
        more = "".join(f', {{user: u{n}, role: user, token: "{user_token(n)}"}}' for n in range(users))
        file = where / "bench.yaml"
        where.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"""
server: {{port: {port}, max_connections: 20000}}
auth: {{tokens: [{{user: bench, role: user, token: "{TOKEN}"}}{more}]}}
limits: {{messages_per_minute: 0, turns_per_user: 5000}}
agent: {{mode: {mode}}}
logging: {{level: warning, format: json}}
{models if model_url else ""}{extra}"""
        )
        begun = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", "--config", str(file), stdout=asyncio.subprocess.PIPE,
            env=environment(GATEWAY_HOME=str(where)), cwd=where,
        )  # fmt: skip
        try:
            url = await _ready(child)
            yield Child(url, psutil.Process(child.pid), time.monotonic() - begun)
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()


async def _ready(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    while line := (await child.stdout.readline()).decode():
        for word in line.split():
            if word.startswith("http://127.0.0.1:"):
                url = word.split("#")[0].rstrip("/")
                async with aiohttp.ClientSession() as session:
                    while True:
                        async with session.get(url + "/ready") as response:
                            if response.status == 200:
                                return url
                        await asyncio.sleep(0.01)
    raise RuntimeError("the gateway did not start")


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def figure(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """One line of the report."""
    return {"figure": name, "value": round(value, 4), "unit": unit} | more
