"""A recorded session run again with a model that says what the recorded one said gives the same log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.ports.models import ModelReply, ModelRequest, RequestedCall
from agent.ports.sessions import Record
from agent.ports.tools import ToolCall
from agent.sessions import records as kinds
from agent.settings import ModelSettings
from bus.errors import ToolDenied
from bus.events import Usage
from bus.keys import default_key
from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import EchoModel
from tests.fakes.openai_server import OpenAIServer

KEY = default_key("alice")
OTHER_EACH_TIME = frozenset({"message_id", "timestamp", "received_at", "trace_id", "content_hash", "duration_ms",
                             "created_at", "updated_at"})  # fmt: skip


class Recorded(EchoModel):
    """Says, round by round, what a log says that a model said."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__()
        self.steps: list[ModelReply] = []
        spent: dict[str, int] = {}
        for record in records:
            data = record.data
            if record.type == kinds.TOOL_STARTED and data.get("round"):
                step = data["round"]
                calls = tuple(RequestedCall(**call) for call in step["calls"])
                self.steps.append(
                    ModelReply(text=step["text"], finish_reason="tool_calls", calls=calls,
                               usage=Usage(**step["usage"]), model=step["model"])
                )  # fmt: skip
                for name, value in step["usage"].items():
                    spent[name] = spent.get(name, 0) + value
            elif record.type == kinds.DONE and not data.get("command"):
                left = {name: value - spent.get(name, 0) for name, value in data["usage"].items()}
                spent = {}
                text = data.get("last_text", data["text"])
                self.steps.append(
                    ModelReply(text=text, finish_reason=data["finish_reason"], usage=Usage(**left), model=data["model"])
                )

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        step = self.steps.pop(0)
        for word in step.text.split(" "):  # in other pieces than the first time
            on_delta(word + " ")
        return step

    def describe(self) -> list[dict[str, Any]]:
        return [{"name": "main", "model": "scripted", "tier": 1}]


class Exactly(Recorded):
    """The same, in one piece."""

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        step = self.steps.pop(0)
        if step.text:
            on_delta(step.text)
        return step


def same(record: Record) -> tuple[str, str]:
    """A record without what must differ: ids, times, and numbers, which deltas take too."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(item) for name, item in value.items() if name not in OTHER_EACH_TIME | {"reserved"}}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return record.type, json.dumps(bare(record.data), sort_keys=True)


def tools() -> Tools:
    made = Tools()
    made.add("look", lambda call: f"seen {call.arguments.get('at')}", read_only=True)
    made.add("forbidden", refuse)
    return made


def refuse(call: ToolCall) -> str:
    raise ToolDenied("not here")


async def conversation(agent: Any) -> list[Record]:
    for text in ('!tool look {"at": "home"}', "hello", "!tool forbidden {}", "!tool missing {}", "你好", "/mode single",
                 "!same-ids look", "goodbye"):  # fmt: skip
        await agent.ask(text)
    records: list[Record] = await agent.store.read(KEY)
    return [record for record in records if record.type != kinds.SEQ_MARK]


async def test_a_recorded_session_gives_the_same_log_again(tmp_path: Path) -> None:
    async with OpenAIServer() as server:
        entry = ModelSettings(name="main", base_url=server.url, model="scripted", api_key=SecretStr("k"))
        pool = ModelPool([entry], DemoModel(0))
        try:
            async with running(Agent(tmp_path / "first", pool, tools())) as agent:
                first = await conversation(agent)
        finally:
            await pool.close()
    assert {record.type for record in first} >= {kinds.MESSAGE, kinds.TURN_STARTED, kinds.TOOL_FINISHED, kinds.DONE}
    model = Exactly(first)
    async with running(Agent(tmp_path / "second", model, tools())) as agent:
        second = await conversation(agent)
    assert model.steps == []
    assert [same(record) for record in second] == [same(record) for record in first]
    # in other pieces the numbers differ, and the words with the spaces between them, but no step does
    async with running(Agent(tmp_path / "third", Recorded(first), tools())) as agent:
        third = await conversation(agent)
    assert [record.type for record in third] == [record.type for record in first]
