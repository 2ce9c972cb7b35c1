"""Speech to text against a server of the OpenAI form."""

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
