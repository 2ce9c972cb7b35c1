"""What leaves the window is told in short; pairs stay whole and the prefix stays."""

from collections.abc import Callable
from pathlib import Path

from agent.compaction import Compactor
from agent.ports.models import ModelReply, ModelRequest
from agent.sessions import records as kinds
from agent.window import Window
from tests.agent.harness import Agent, running
from tests.agent.test_window import done, message, result, talk, tool_round
from tests.fakes.models import EchoModel


class SummingModel(EchoModel):
    """Answers briefly, and tells a conversation in short where it is asked to."""

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        self.requests.append(request)
        summing = "in short" in str(request.messages[0]["content"])[:40]
        text = "they spoke of numbers" if summing else "ok"
        on_delta(text)
        return ModelReply(text=text, finish_reason="stop", model="summing")


def test_whole_turns_and_only_when_there_is_need() -> None:
    window = Window(20, 100_000)
    talk(3, window)
    assert window.to_summarise(0.75) == ([], 0)
    talk(8, window)
    messages, upto = window.to_summarise(0.75)
    assert [m["role"] for m in messages] == ["user", "assistant"] * 4
    assert upto == 7


def test_a_call_stays_with_its_result() -> None:
    window = Window(8, 100_000)
    window.apply_all([message(1, "a"), tool_round(2, 1, "x"), result(3, 1, "x"), done(4, 1, "A"), message(5, "b"),
                      done(6, 5, "B"), message(7, "c")])  # fmt: skip
    messages, upto = window.to_summarise(0.5)
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"] and upto == 1


async def test_it_happens_off_the_reply_path_and_survives_a_restart(tmp_path: Path) -> None:
    model = SummingModel()
    settings = {"window_messages": 8}

    def summaries() -> list[object]:
        return [e for e in agent.events if getattr(e, "state", "") == "compacted"]

    agent = Agent(tmp_path, model, settings=settings)
    agent.compactor = Compactor(model)
    async with running(agent):
        for number in range(4):
            await agent.ask(f"number {number}")
        await agent.until(summaries)
        await agent.ask("next")
        assert "they spoke of numbers" in model.requests[-1].messages[1]["content"]
        assert "number 0" not in str(model.requests[-1].messages)
        assert [event.seq for event in agent.events] == list(range(1, len(agent.events) + 1))
    agent = Agent(tmp_path, model, settings=settings)
    async with running(agent):
        await agent.ask("after the restart")
        assert "they spoke of numbers" in model.requests[-1].messages[1]["content"]
        stored = await agent.store.read(agent_key(agent), types=frozenset({kinds.SUMMARY}))
        assert len(stored) >= 1


def agent_key(agent: Agent) -> object:
    return agent.events[0].session
