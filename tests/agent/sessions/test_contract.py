"""The JSONL store against the suite that every store passes."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from agent.sessions.jsonl_store import JsonlStore
from tests.contracts.session_store_contract import SessionStoreContract
from tests.fakes.session_records import NOW


class JsonlHouse:
    """A folder. A killed process leaves what the system was given: a copy of the folder is just that."""

    def __init__(self, folder: Path, **more: int) -> None:
        self._folder = folder
        self._more = more
        self._numbers = count()

    @asynccontextmanager
    async def _at(self, folder: Path) -> AsyncIterator[JsonlStore]:
        async with JsonlStore(folder, clock=lambda: NOW, **self._more) as store:  # type: ignore[arg-type]
            yield store

    def open(self) -> "AsyncIterator[JsonlStore]":
        return self._at(self._folder)  # type: ignore[return-value]

    def open_as_killed(self) -> "AsyncIterator[JsonlStore]":
        copy = self._folder.with_name(f"killed-{next(self._numbers)}")
        shutil.copytree(self._folder, copy)
        return self._at(copy)  # type: ignore[return-value]


class TestJsonl(SessionStoreContract):
    @pytest.fixture
    def house(self, tmp_path: Path) -> JsonlHouse:
        return JsonlHouse(tmp_path / "sessions")


class TestJsonlWithACheckpointAllTheTime(SessionStoreContract):
    """Nothing may depend on when the checkpoint comes, or on what is still in memory."""

    @pytest.fixture
    def house(self, tmp_path: Path) -> JsonlHouse:
        return JsonlHouse(tmp_path / "sessions", checkpoint_sessions=1, cached_sessions=1)
