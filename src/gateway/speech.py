"""Speech to text by any server of the OpenAI form: `POST {base_url}/audio/transcriptions`.

Implements `channels.ports.Transcriber`. The SDK is imported when the first voice comes.
"""

import asyncio
from typing import TYPE_CHECKING

from channels.settings import SpeechSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

SECONDS = 60.0


class SpeechToText:
    """What `speech_to_text:` of the configuration asks for."""

    def __init__(self, settings: SpeechSettings) -> None:
        self._settings = settings
        self._client: AsyncOpenAI | None = None

    async def transcribe(self, data: bytes, *, mime: str, name: str) -> str:
        """The words in `data`. Raises the SDK's errors; whoever sent the voice keeps it in any case."""
        if self._client is None:
            client = await asyncio.to_thread(self._made)
            if self._client is None:  # else another voice came first
                self._client = client
        answer = await self._client.audio.transcriptions.create(
            file=(name, data, mime), model=self._settings.model, response_format="json"
        )
        return str(getattr(answer, "text", "") or "")

    def _made(self) -> "AsyncOpenAI":
        """Beside the loop: the SDK takes half a second to import, and the system's certificates lie in many files."""
        from openai import AsyncOpenAI

        key = self._settings.api_key.get_secret_value() if self._settings.api_key else "none"
        return AsyncOpenAI(api_key=key, base_url=self._settings.base_url, timeout=SECONDS, max_retries=1)

    async def close(self) -> None:
        """Drop the connections."""
        if self._client is not None:
            await self._client.close()
