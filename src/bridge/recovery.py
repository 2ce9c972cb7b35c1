"""What a bridge still owes after a restart: answers that nobody has confirmed, and calls that were cut short.

Below `calls.py`, which asks once before the first connection; it reads the ledger and fills the outbox.
"""

from bridge.answers import error_answer
from bridge.errors import OutcomeUnknown
from bridge.execution import Parts
from bridge.ledger_rows import Row
from bridge.policy import idempotent


def recover(parts: Parts) -> dict[str, str]:
    """Fill the outbox; call id → idempotency key of what is in it.

    Where the person's policy says idempotent, an interrupted call may simply be sent again; any other ends in 2006.
    """
    keys: dict[str, str] = {}
    for key, call_id, answer in parts.ledger.unacknowledged():
        parts.outbox.answers[call_id] = answer
        keys[call_id] = key
    for key, row in parts.ledger.interrupted():
        route = parts.executor.route(row.tool, "tools/call")
        if route is not None and idempotent(route.rules, route.own_name):
            continue
        answer = error_answer(OutcomeUnknown("the bridge stopped in the middle of this call", effect="unknown"))
        parts.outbox.answers[row.call_id] = answer
        keys[row.call_id] = key
        parts.ledger.done_soon(key, Row(row.call_id, row.content, row.tool, "done", answer, "unknown"))
    parts.ledger.prune()
    return keys
