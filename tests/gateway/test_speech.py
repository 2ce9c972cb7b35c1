"""Speech to text against a server of the OpenAI form."""

import subprocess
import sys
from typing import Any

from aiohttp import web

from channels.settings import SpeechSettings
from gateway.speech import SpeechToText


async def test_a_voice_is_sent_as_a_file_and_the_words_come_back() -> None:
    got: dict[str, Any] = {}

    async def transcriptions(request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        got.update(model=form["model"], name=file.filename, data=file.file.read(), key=request.headers["Authorization"])
        return web.json_response({"text": "hello there"})

    application = web.Application()
    application.router.add_post("/v1/audio/transcriptions", transcriptions)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = SpeechSettings.model_validate(
        {"base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1", "api_key": "k", "model": "whisper-1"}
    )
    speech = SpeechToText(settings)
    try:
        assert await speech.transcribe(b"OggS", mime="audio/ogg", name="voice.ogg") == "hello there"
    finally:
        await speech.close()
        await runner.cleanup()
    assert got == {"model": "whisper-1", "name": "voice.ogg", "data": b"OggS", "key": "Bearer k"}


FIRST_VOICE = """
import asyncio, sys, threading
from channels.settings import SpeechSettings
from gateway.speech import SpeechToText

in_the_loop = []
sys.addaudithook(lambda event, found: event == "import" and found[0] == "openai" and in_the_loop.append(
    threading.current_thread() is threading.main_thread()))
speech = SpeechToText(SpeechSettings.model_validate({"base_url": "http://127.0.0.1:9/v1", "model": "m"}))

async def hear():
    try:
        await speech.transcribe(b"OggS", mime="audio/ogg", name="voice.ogg")
    except Exception as error:
        return type(error).__name__

found = asyncio.run(hear())
print(found, in_the_loop)
"""


def test_nobody_waits_while_the_first_voice_brings_the_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_VOICE], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[0] == "APIConnectionError [False]", done.stderr
