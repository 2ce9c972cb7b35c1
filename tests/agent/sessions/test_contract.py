"""The JSONL store against the suite that every store passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from agent.sessions.jsonl_store import JsonlStore
from tests.contracts.session_store_contract import SessionStoreContract
from tests.fakes.killed import copy_at_rest
from tests.fakes.session_records import NOW


class JsonlHouse:
    """A folder. A killed process leaves what the system was given: a copy of the folder is just that."""

    def __init__(self, folder: Path, **more: int) -> None:
        self._folder = folder
        self._more = more
        self._numbers = count()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JsonlStore]:
        async with self._at(self._folder) as self._open:
            yield self._open

    @asynccontextmanager
    async def open_as_killed(self) -> AsyncIterator[JsonlStore]:
        copy = self._folder.with_name(f"killed-{next(self._numbers)}")
        await copy_at_rest(self._folder, copy)
        async with self._at(copy) as store:
            yield store

    def _at(self, folder: Path) -> JsonlStore:
        return JsonlStore(folder, clock=lambda: NOW, **self._more)


class TestJsonl(SessionStoreContract):
    @pytest.fixture
    def house(self, tmp_path: Path) -> JsonlHouse:
        return JsonlHouse(tmp_path / "sessions")


class TestJsonlWithACheckpointAllTheTime(SessionStoreContract):
    """Nothing may depend on when the checkpoint comes, or on what is still in memory."""

    @pytest.fixture
    def house(self, tmp_path: Path) -> JsonlHouse:
        return JsonlHouse(tmp_path / "sessions", checkpoint_sessions=1, cached_sessions=1)
