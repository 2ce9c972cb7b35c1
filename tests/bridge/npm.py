"""The official MCP servers from the npm registry, pinned in `tests/npm`."""

import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "npm"
MODULES = FOLDER / "node_modules" / "@modelcontextprotocol"
SERVERS = {"everything": "server-everything", "filesystem": "server-filesystem", "memory": "server-memory"}


def program(name: str) -> str:
    """The script of one of the servers. Fails with the one command that helps."""
    if shutil.which("node") is None:
        pytest.fail("Node.js is missing: sudo apt-get install -y nodejs npm")
    path = MODULES / SERVERS[name] / "dist" / "index.js"
    if not path.exists():
        pytest.fail(f"the MCP servers for tests are missing: npm ci --prefix {FOLDER}")
    return str(path)
