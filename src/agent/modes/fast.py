"""`fast`: one call to the cheapest model, no tools; it hands over when it turns out to need one."""

from agent import prompts
from agent.modes.work import CHEAPEST, Finished, Work
from agent.ports.models import ModelFailed

HANDOVER = "HANDOVER"


class _Gate:
    """Holds the first characters back until it is clear that they are not the hand-over."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._held: str | None = ""
        self.handed_over = False

    def __call__(self, text: str) -> None:
        if self._held is None:
            self._work.turn.delta(text)
            return
        self._held += text
        start = self._held.lstrip()
        if start.startswith(HANDOVER):
            self.handed_over = True
        elif not HANDOVER.startswith(start[: len(HANDOVER)]):
            self.flush()

    def flush(self) -> None:
        """Let go what was held."""
        held, self._held = self._held, None
        if held and not self.handed_over:
            self._work.turn.delta(held)


async def run(work: Work) -> Finished | None:
    """Answer, or None where `single` has to; then nothing was streamed. Raises ModelFailed."""
    messages = await work.messages()
    messages[0] = {"role": "system", "content": f"{prompts.FAST}\n\n{work.wishes}" if work.wishes else prompts.FAST}
    gate = _Gate(work)
    try:
        reply = await work.ask(messages, gate, hands=None, tier=CHEAPEST)
    except ModelFailed:
        if gate.handed_over:
            return None
        gate.flush()
        raise  # every model has been asked, the dearer ones too, and one of them twice: that is the end
    if not gate.handed_over:
        gate.flush()
    if gate.handed_over or (not work.turn.text and not reply.text):
        return None
    work.turn.model = reply.model or work.turn.model
    return Finished(reply.finish_reason)
