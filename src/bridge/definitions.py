"""What each tool said it was when the person last agreed to it.

A tool whose description or schema changes after it was allowed is another tool: it is asked about again until
the person agrees to the new one. Kept in the bridge's database, next to the ledger.
"""

from collections.abc import Callable

from bridge.database import Database


class Definitions:
    """Hashes of definitions by public name. `agreed` is called when the person took a new one."""

    def __init__(self, database: Database, agreed: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self.agreed = agreed
        self._known: dict[str, str] = {}
        for tool, digest in database.read("SELECT tool, hash FROM definitions"):
            self._known[tool] = digest

    def changed(self, tool: str, digest: str) -> bool:
        """Whether `tool` is not what it was agreed to be. What was never seen is taken as it is."""
        known = self._known.get(tool)
        if known is None:
            self._keep(tool, digest)
            return False
        return digest != known

    def agree(self, tool: str, digest: str) -> None:
        """The person said yes to a call of the tool as it is now."""
        if self._known.get(tool) != digest:
            self._keep(tool, digest)
            self.agreed()

    def _keep(self, tool: str, digest: str) -> None:
        self._known[tool] = digest
        self._database.write(("INSERT OR REPLACE INTO definitions VALUES (?, ?)", (tool, digest)))
