"""Files that are given to a conversation."""

from pathlib import Path

import aiohttp

from tests.e2e.gateway_process import ALICE, Client, gateway_process
from tests.fakes.openai_server import OpenAIServer


async def test_a_text_whose_client_names_no_type_is_read_like_any_other(tmp_path: Path) -> None:
    async with OpenAIServer() as model:
        models = {"models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "echo"}]}
        headers = {"Authorization": f"Bearer {ALICE}"}
        async with (
            gateway_process(tmp_path / "home", models) as gateway,
            Client(gateway.ws) as alice,
            aiohttp.ClientSession(headers=headers) as http,
        ):
            kinds = {"notes.txt": "text/plain", "plan.MD": "text/markdown", "a.yaml": "application/yaml"}
            for name, mime in kinds.items():
                form = aiohttp.FormData()
                form.add_field("file", b"the heron is grey", filename=name)  # as application/octet-stream
                async with http.post(gateway.url + "/api/v1/media", data=form) as response:
                    kept = await response.json()
                assert kept["mime"] == mime
                told = await alice.call("chat.send", text="read", media=[{"media_id": kept["media_id"]}])
                assert "the heron is grey" in told["text"]
            inline = [{"data": "aGVyb25z", "name": "b.txt"}]
            assert "herons" in (await alice.call("chat.send", text="read", media=inline))["text"]
            form = aiohttp.FormData()
            form.add_field("file", b"\x00\x01", filename="program")
            async with http.post(gateway.url + "/api/v1/media", data=form) as response:
                assert (await response.json())["mime"] == "application/octet-stream"
