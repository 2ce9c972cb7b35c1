"""Language models named after what they do wrong."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from agent.ports.models import ModelFailed, ModelReply, ModelRequest, RequestedCall
from bus.events import JsonObject, Usage


class EchoModel:
    """Answers with what was said last, word by word."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        self.requests.append(request)
        last = request.messages[-1]["content"]
        text = f"you said: {last}"
        for index, word in enumerate(text.split(" ")):
            on_delta(word if index == 0 else f" {word}")
            await asyncio.sleep(self.pause)
        return ModelReply(text=text, finish_reason="stop", usage=Usage(prompt_tokens=3, completion_tokens=4,
                                                                       total_tokens=7), model="echo")  # fmt: skip

    def describe(self) -> Sequence[JsonObject]:
        return [{"name": "echo", "model": "echo", "tier": 0}]

    def estimate(self, name: str, messages: Sequence[JsonObject]) -> Usage:
        return Usage(prompt_tokens=5, total_tokens=5, estimated_tokens=5)

    async def close(self) -> None:
        pass


class StallingModel(EchoModel):
    """Streams one piece and then nothing, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.streaming = asyncio.Event()
        self.cancelled = 0

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        self.requests.append(request)
        on_delta("half ")
        self.streaming.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        on_delta("whole")
        return ModelReply(text="half whole", finish_reason="stop", model="stalling")


class BreakingModel(EchoModel):
    """Streams one piece, then the connection is gone."""

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        self.requests.append(request)
        on_delta("half ")
        raise ModelFailed(2003, "the model's connection was lost", partial="half ", retryable=True, kind="connection")


class ScriptedModel(EchoModel):
    """Answers with one prepared step after the other: a text, or (text, calls)."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = list(steps)

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        self.requests.append(request)
        step = self.steps.pop(0) if self.steps else "nothing left"
        text, calls = step if isinstance(step, tuple) else (step, [])
        if text:
            on_delta(text)
        await asyncio.sleep(0)
        asked = tuple(RequestedCall(call_id=i, name=n, arguments=a) for i, n, a in calls)
        return ModelReply(text=text, finish_reason="tool_calls" if asked else "stop", calls=asked, model="scripted",
                          usage=Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2))  # fmt: skip
