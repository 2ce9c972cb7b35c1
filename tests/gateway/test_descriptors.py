"""Room for as many open files as the house may need."""

import os
import resource
import subprocess
import sys

import pytest

ROOM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from gateway.descriptors import make_room
make_room(int(sys.argv[2]))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("FDSize:")))
print(open("/dev/null").fileno())
"""


@pytest.mark.parametrize("connections", [100, 10**9])
def test_the_limit_is_raised_and_the_table_of_open_files_is_made_at_once(connections: int) -> None:
    """A table that grows under load keeps everybody waiting; what the system does not allow is done without."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 1 << 30 if hard == resource.RLIM_INFINITY else hard
    connections = min(connections, 20_000) if hard == resource.RLIM_INFINITY else connections
    child = subprocess.run(
        [sys.executable, "-c", ROOM, "256", str(connections)], capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    limit, table, next_free = map(int, child.stdout.split())
    assert limit == min(connections + 5120, most)
    assert table >= limit
    assert next_free < 20
