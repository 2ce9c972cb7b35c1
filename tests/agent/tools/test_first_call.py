"""The first call of a tool, while what it needs is still being imported beside the loop.

A turn that goes on after a restart calls its tool in the very moment in which the house gets its tools ready.
"""

import subprocess
import sys

SCRIPT = """
import asyncio, importlib.machinery, sys, tempfile, threading, time
from pathlib import Path
from agent.tools.builtin.catalogue import builtins
from agent.tools.schema import BadArguments, check

entered = threading.Event()

class Slowly(importlib.machinery.PathFinder):
    # a machine with other things to do: the thread that gets ready is left in the middle of the package
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "jsonschema._format" or threading.current_thread() is threading.main_thread():
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def slow(module):
            entered.set()
            time.sleep(0.2)
            run(module)
        spec.loader.exec_module = slow
        return spec

sys.meta_path.insert(0, Slowly)

async def main():
    made = builtins(Path(tempfile.gettempdir()))
    warm = asyncio.get_running_loop().create_task(made.warm())
    while not entered.is_set():
        await asyncio.sleep(0.001)
    try:
        check({"properties": {"line": {"type": "string"}}}, {"line": 5})
    except BadArguments as error:
        print(error)
    await warm

asyncio.run(main())
"""


def test_a_call_in_the_moment_in_which_its_packages_are_imported() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "at “line”: 5 is not of type 'string'" in done.stdout
