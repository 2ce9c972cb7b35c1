"""The audit log: append-only JSON lines, each with the hash of the one before.

The door of this package, used by the gateway (`$GATEWAY_HOME/audit.jsonl`) and by the
bridge (beside its configuration). `AuditLog` writes, `verify` proves that nothing was
edited, removed or put in another order, `tail` reads. No audit record, no call: who
does something dangerous appends first and stops where `AuditFailed` is raised.
"""

from bridge.audit.chain import GENESIS, Verdict, head_path, tail, verify
from bridge.audit.files import KEPT_PARTS, audit_files, is_part, open_files
from bridge.audit.log import AuditFailed, AuditLog
from bridge.audit.shape import shape

__all__ = [
    "GENESIS", "KEPT_PARTS", "AuditFailed", "AuditLog", "Verdict", "audit_files", "head_path", "is_part", "open_files",
    "shape", "tail", "verify",
]  # fmt: skip
