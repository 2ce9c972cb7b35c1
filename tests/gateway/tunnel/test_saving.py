"""What is written down of bridges: all of it, once more where the disk refused, and no more than there are."""

import asyncio
import sqlite3

import pytest

from gateway.tunnel.directory import MAX_BRIDGES
from tests.fakes.tunnel_rig import GatewayRig, actor, until


async def paired(gateway: GatewayRig, number: int) -> str:
    begun = gateway.directory.pairing.begin(f"laptop {number}", "linux", f"10.0.0.{number}")
    return await gateway.directory.pair(str(begun["code"]), actor())


def written(gateway: GatewayRig) -> set[str]:
    with sqlite3.connect(gateway.home / "bridges.db") as file:
        return {bridge_id for (bridge_id,) in file.execute("SELECT bridge_id FROM bridges")}


async def test_a_bridge_that_made_room_is_forgotten_on_the_disk_too(gateway: GatewayRig) -> None:
    made = [await paired(gateway, number) for number in range(MAX_BRIDGES + 3)]
    await until(lambda: written(gateway) == set(made[3:]))


async def test_what_changes_in_the_moment_a_writing_ends_is_written(gateway: GatewayRig) -> None:
    before = asyncio.all_tasks()
    made = [await paired(gateway, 1)]
    (writing,) = asyncio.all_tasks() - before
    while not writing.done():
        await asyncio.sleep(0)
    made.append(await paired(gateway, 2))
    await until(lambda: written(gateway) == set(made), 2)


@pytest.mark.attack(72)
async def test_what_the_disk_refused_is_written_with_the_next_change(gateway: GatewayRig) -> None:
    connection = gateway.directory._saver._remembered._connection
    connection.execute("PRAGMA query_only = ON")
    made = [await paired(gateway, 1)]
    await asyncio.sleep(0.15)
    assert written(gateway) == set()
    connection.execute("PRAGMA query_only = OFF")
    made.append(await paired(gateway, 2))
    await until(lambda: written(gateway) == set(made), 2)
