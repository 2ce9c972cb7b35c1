"""`single`: the tool loop. Ask, run the calls, ask again, until the model has answered.

What a round came to is in the log before the next begins, and the window reads it
from there: so a turn that goes on after a crash takes the same path as one that
was never cut.
"""

from dataclasses import replace

from agent import prompts
from agent.modes.work import BEST, Finished, Work, handed_back


async def run(work: Work) -> Finished:
    """Answer. Raises ModelFailed, GatewayError."""
    turn = work.turn
    rounds = turn.progress.rounds
    if rounds:
        await work.finish_round(rounds[-1])
    for _ in range(len(rounds), work.settings.max_rounds):
        turn.next_round()
        reply = await work.ask(await work.messages(), turn.delta, hands=work.own)
        turn.model = reply.model or turn.model
        if not reply.calls:
            return Finished(reply.finish_reason)
        theirs = tuple(call for call in reply.calls if call.name in work.client_tools)
        if theirs:  # only these: the client knows no others, and the model can ask again for ours behind their results
            return Finished("tool_calls", handed_back(replace(reply, calls=theirs)))
        if not await work.use(reply):
            return await _without_tools(work)
        turn.steer()
    turn.next_round()
    language = turn.message.actor.language
    turn.delta(prompts.said(prompts.STOPPED_AFTER_ROUNDS, language, rounds=work.settings.max_rounds))
    return Finished("length")


async def _without_tools(work: Work) -> Finished:
    """The model went in circles, or could not use the tools: it answers with what it has, or it is said."""
    turn = work.turn
    turn.next_round()
    work.tier = BEST  # this model could not do it: the next better one is asked, where there is one
    reply = await work.ask(await work.messages(), turn.delta, hands=None)
    turn.model = reply.model or turn.model
    if reply.text:
        return Finished(reply.finish_reason)
    turn.delta(prompts.said(prompts.STOPPED_IN_CIRCLES, turn.message.actor.language))
    return Finished("length")
