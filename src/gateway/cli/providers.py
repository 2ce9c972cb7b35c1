"""Model endpoints that people have: OpenAI, DeepSeek, Ollama, LiteLLM, and any other of the same API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.cli.probes import ProbeFailed, discord_bot, feishu_app, models_of, telegram_bot

OPENAI = "https://api.openai.com/v1"
DEEPSEEK = "https://api.deepseek.com/v1"
OLLAMA = "http://127.0.0.1:11434/v1"
LITELLM = "http://127.0.0.1:4000/v1"
_ADDRESSES = {"telegram": "base_url", "discord": "api_url", "feishu": "domain"}
_PREFERRED = ("gpt-5", "deepseek-chat", "qwen3", "llama3")
_NO_CHAT = ("embed", "whisper", "tts", "dall-e", "moderation", "rerank", "transcribe", "image", "realtime", "audio")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Somewhere models are. `key` is empty where none is needed."""

    name: str
    base_url: str
    key: str = ""

    def choose(self, offered: Sequence[str]) -> str:
        """A model for somebody who named none: a well-known one, else the first that can chat."""
        usable = [each for each in offered if not any(word in each.lower() for word in _NO_CHAT)]
        for wanted in _PREFERRED:
            for each in usable:
                if each == wanted or each.startswith(wanted + ":"):
                    return each
        if usable:
            return usable[0]
        return {OPENAI: "gpt-5", DEEPSEEK: "deepseek-chat"}.get(self.base_url, "")


def recognise(environ: Mapping[str, str], base_url: str | None, *, search: bool) -> Endpoint | None:
    """The endpoint that is named, has a key in the environment, or (with `search`) answers on this machine."""
    if base_url:
        return Endpoint("named", base_url.rstrip("/"), environ.get("OPENAI_API_KEY", ""))
    if environ.get("OPENAI_API_KEY") or environ.get("OPENAI_BASE_URL"):
        address = environ.get("OPENAI_BASE_URL", "").rstrip("/") or OPENAI
        return Endpoint("OpenAI", address, environ.get("OPENAI_API_KEY", ""))
    if environ.get("DEEPSEEK_API_KEY"):
        return Endpoint("DeepSeek", deepseek_url(environ), environ["DEEPSEEK_API_KEY"])
    for endpoint in local_endpoints(environ) if search else ():
        return endpoint
    return None


def local_endpoints(environ: Mapping[str, str]) -> list[Endpoint]:
    """Ollama and LiteLLM, where they run on this machine."""
    host = environ.get("OLLAMA_HOST", "")
    ollama = (host if "://" in host else f"http://{host}").rstrip("/") + "/v1" if host else OLLAMA
    litellm_key = environ.get("LITELLM_API_KEY") or environ.get("LITELLM_MASTER_KEY", "")
    candidates = [
        Endpoint("Ollama", ollama.replace("//0.0.0.0", "//127.0.0.1")),  # how people let it listen
        Endpoint("LiteLLM", _litellm_url(environ), litellm_key),
    ]
    found = []
    for candidate in candidates:
        try:
            if models_of(candidate.base_url, candidate.key or None):
                found.append(candidate)
        except ProbeFailed:
            continue
    return found


def deepseek_url(environ: Mapping[str, str]) -> str:
    """DeepSeek's address, or that of a server that stands in for it."""
    return environ.get("DEEPSEEK_BASE_URL", "").rstrip("/") or DEEPSEEK


def _litellm_url(environ: Mapping[str, str]) -> str:
    named = environ.get("LITELLM_BASE_URL", "").rstrip("/")
    return named.removesuffix("/v1") + "/v1" if named else LITELLM


def bot_name(channel: str, values: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Who the credentials of `channel` belong to. Raises ProbeFailed.

    The platform's address is the one that the environment configures (a Bot API of one's own, Lark), if it does.
    """
    address = environ.get(f"GATEWAY__CHANNELS__{channel}__{_ADDRESSES[channel]}".upper())
    if channel == "telegram":
        return telegram_bot(values["token"], address)
    if channel == "discord":
        return discord_bot(values["token"], address)
    return feishu_app(values["app_id"], values["app_secret"], address)
