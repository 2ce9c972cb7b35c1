"""The longer texts of the demo model, in English and Chinese. Used by `demo_answers.py`."""

ABOUT_EN = (
    "I am the demo model that is built into this gateway. I need no key and no network: my answers are rules, not "
    "thoughts. You can try the whole gateway with me: ask me to count to 200 and stop me in the middle, say “what did "
    "I say before?”, ask “what time is it?” to see a tool at work, or call any tool yourself with "
    '“use TOOL {"argument": "value"}”. For a real model, ask me how to set a key.'
)
ABOUT_ZH = (
    "我是这个网关内置的演示模型，不需要密钥，也不需要网络：我的回答来自规则，而不是思考。您可以用我试遍整个网关："
    "让我“数到200”并在中途叫停；问我“我刚才说了什么？”；问“现在几点？”看工具如何运行；"
    '或用“调用 工具名 {"参数": "值"}”调用任何工具。想用真正的模型，请问我“如何设置密钥”。'
)
KEY_EN = (
    "To talk to a real model, stop the gateway and start it again with a key in the environment:\n\n"
    "```\nexport OPENAI_API_KEY=...\ngateway run\n```\n\n"
    "`OPENAI_BASE_URL` and `OPENAI_MODEL` choose another OpenAI-compatible endpoint (DeepSeek, Qwen, Ollama, vLLM). "
    "Several models go under `models:` in `config/gateway.yaml`; `gateway init` asks you for it step by step."
)
KEY_ZH = (
    "要使用真正的模型，请先停止网关，在环境变量中设置密钥，再重新启动：\n\n"
    "```\nexport OPENAI_API_KEY=...\ngateway run\n```\n\n"
    "用 `OPENAI_BASE_URL` 和 `OPENAI_MODEL` 可以选择其他 OpenAI 兼容的服务（DeepSeek、通义千问、Ollama、vLLM）。"
    "多个模型写在 `config/gateway.yaml` 的 `models:` 下；`gateway init` 会一步一步引导您完成设置。"
)

CHAPTER_EN = (
    "Chapter {n}. A message set out from a small machine and came to gate number {n}. The keeper wrote its name into "
    "a book before he let it pass, for {before} messages had gone before it and none of them was ever lost. Behind the "
    "gate a voice answered word by word, and whoever had heard enough could simply say: stop."
)
CHAPTER_ZH = (
    "第{n}章：一条消息从一台小机器出发，来到第{n}道门前。守门人先把它的名字写进簿子，才放它过去，"
    "因为在它之前已有{before}条消息走过，一条也没有丢失。门后有个声音一字一句地回答，听够了的人只要说一声：停。"
)
