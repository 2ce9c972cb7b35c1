"""What became of a turn whose end nobody here has heard, after a restart: asked until it is known.

Above is `host.py`, which shows it; who knows is behind the port `Answers`.
"""

import asyncio
import logging

from bus.errors import GatewayError
from bus.keys import SessionKey
from channels.items import Turn
from channels.ledger import OpenTurn
from channels.ports import Answers, Outcome
from channels.wording import say

log = logging.getLogger(__name__)
ASK_AGAIN_SECONDS = 1.0
MOST_SECONDS = 60.0


async def fate_of(found: OpenTurn, answers: Answers | None) -> Outcome:
    """`ended` with what its sender is shown, `open`, or `unknown`: it was never durable, and comes again."""
    turn = found.turn
    if found.final is not None:
        return Outcome(state="ended", text=found.final)
    if answers is None:
        return Outcome(state="open")
    outcome = await _asked(turn, answers)
    if outcome.state == "ended":
        text = say("failed", turn.language, message=outcome.text) if outcome.failed else outcome.text
        return Outcome(state="ended", text=text or say("empty", turn.language))
    if outcome.state == "unknown" and found.accepted:
        return Outcome(state="ended", text=say("interrupted", turn.language))
    return outcome


async def _asked(turn: Turn, answers: Answers) -> Outcome:
    """What cannot be read now is read later: nobody else would ever end this turn."""
    delay = ASK_AGAIN_SECONDS
    while True:
        try:
            return await answers.outcome(SessionKey(turn.session), turn.message_id)
        except (GatewayError, OSError) as error:
            log.warning("how a turn ended can't be read now (%s)", error)
            if isinstance(error, GatewayError) and not error.retryable:
                return Outcome(state="unknown")
        await asyncio.sleep(delay)
        delay = min(2 * delay, MOST_SECONDS)
