"""The gateway behind an OpenAI client: the person's own tools are at work on the gateway's side.

Needs `openai`. With the header X-Session-Key the conversation is kept; without it each request stands alone.
"""

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ["GATEWAY_TOKEN"],
    default_headers={"X-Session-Key": "example"},
)
model = client.models.list().data[0].id
stream = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": " ".join(sys.argv[1:]) or "hello"}], stream=True
)
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
