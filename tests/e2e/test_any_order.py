"""Operations in any order, over stops, kills and a disk that refuses: a book of what was told beside the gateway."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.any_order.world import World, open_files


async def live(folder: Path, patch: pytest.MonkeyPatch, seed: int, *, lives: int, operations: int) -> World:
    """One seed: its last bits say which model and which disk."""
    tasks, files = len(asyncio.all_tasks()), open_files()
    world = World(folder, seed, patch, scripted=bool(seed & 1), rough=bool(seed & 2))
    await world.run(lives, operations)
    for _ in range(20):
        left = [task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())]
        if len(left) == tasks:
            break
        await asyncio.sleep(0.05)
    assert len(left) == tasks, left
    assert open_files() <= files + 4
    return world


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [0, 1, 4, 5])
async def test_no_order_of_operations_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = await live(tmp_path, monkeypatch, seed, lives=2, operations=40)
    assert world.book.operations > 100 and len(world.book.by_id) > 20


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 200))
async def test_no_long_order_of_operations_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = await live(tmp_path, monkeypatch, seed, lives=4, operations=120)
    assert world.book.operations > 500
