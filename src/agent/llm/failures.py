"""What can go wrong with a model, which public code it has, and what a person is told to do (en, zh).

Used by `openai_client.py` and `fallback.py`. The server's own words never reach a person where they may hold a
secret (refused keys are often quoted back).
"""

from dataclasses import dataclass

from agent.ports.models import ModelFailed


@dataclass(frozen=True, slots=True)
class Kind:
    """`again`: the same request may succeed at the same model; `elsewhere`: it may at another one."""

    code: int
    again: bool
    elsewhere: bool
    english: str
    chinese: str


KINDS: dict[str, Kind] = {
    "missing_key": Kind(
        2003, False, True,
        "The model “{name}” has no API key. Set OPENAI_API_KEY, or models[].api_key of “{name}” in the "
        "gateway's configuration, and start the gateway again.",
        "模型“{name}”没有 API 密钥。请设置环境变量 OPENAI_API_KEY，"
        "或在网关配置的 models[].api_key（“{name}”）中填写密钥，然后重新启动网关。",
    ),
    "auth": Kind(
        2003, False, True,
        "The model “{name}” refused the API key ({status}). Check OPENAI_API_KEY, or models[].api_key of “{name}” in "
        "the gateway's configuration, and start the gateway again.",
        "模型“{name}”拒绝了 API 密钥（{status}）。请检查 OPENAI_API_KEY 或网关配置中“{name}”的 models[].api_key，"
        "然后重新启动网关。",
    ),
    "quota": Kind(
        1005, False, True,
        "The account of the model “{name}” has no credit left. Top it up at the provider, or add another entry to "
        "`models` in the gateway's configuration.",
        "模型“{name}”的账户额度已用完。请在服务商处充值，或在网关配置的 models 中添加另一个模型。",
    ),
    "rate_limit": Kind(
        1005, True, True,
        "The model “{name}” is being asked too often. Try again in a moment.",
        "模型“{name}”的请求过于频繁，请稍后再试。",
    ),
    "context_length": Kind(
        1006, False, True,
        "This conversation is too long for the model “{name}”. Begin a new one with /new.",
        "对话内容超出了模型“{name}”的上下文长度，请用 /new 开始新的对话。",
    ),
    "content_filter": Kind(
        1002, False, False,
        "The provider of the model “{name}” refused this for its content rules.",
        "模型“{name}”的服务商根据其内容政策拒绝了此请求。",
    ),
    "not_found": Kind(
        2003, False, True,
        "The endpoint of “{name}” does not know this model or address ({status}). Check base_url and model of “{name}” "
        "under `models` in the gateway's configuration (OPENAI_BASE_URL, OPENAI_MODEL).",
        "“{name}”的服务端没有这个模型或地址（{status}）。请检查网关配置 models 中“{name}”的 base_url 和 model"
        "（OPENAI_BASE_URL、OPENAI_MODEL）。",
    ),
    "request": Kind(
        2003, False, True,
        "The model “{name}” did not accept the request ({status}): {detail}",
        "模型“{name}”没有接受该请求（{status}）：{detail}",
    ),
    "server": Kind(
        2003, True, True,
        "The model “{name}” has a fault of its own ({status}). Try again in a moment.",
        "模型“{name}”的服务端出错（{status}），请稍后再试。",
    ),
    "connection": Kind(
        2003, True, True,
        "The model “{name}” cannot be reached. Check base_url of “{name}” under `models` (OPENAI_BASE_URL), and the "
        "network.",
        "无法连接模型“{name}”。请检查 models 中“{name}”的 base_url（OPENAI_BASE_URL）以及网络。",
    ),
    "silent": Kind(
        1004, False, True,
        "The model “{name}” said nothing in time. Try again.",
        "模型“{name}”没有在规定时间内作答，请重试。",
    ),
    "timeout": Kind(
        1004, False, True,
        "The model “{name}” stopped in the middle of its answer, or took too long. Try again.",
        "模型“{name}”在回答途中停住了或耗时过长，请重试。",
    ),
    "truncated": Kind(
        2003, True, True,
        "The connection to the model “{name}” ended before its answer did. Try again.",
        "模型“{name}”的回答还没结束，连接就断开了，请重试。",
    ),
    "garbage": Kind(
        2003, True, True,
        "What came from the model “{name}” is no answer of an OpenAI-compatible API. Check base_url of “{name}” under "
        "`models` (OPENAI_BASE_URL); it usually ends in /v1.",
        "模型“{name}”返回的内容不是 OpenAI 兼容接口的回答。请检查 models 中“{name}”的 base_url（OPENAI_BASE_URL），"
        "它通常以 /v1 结尾。",
    ),
    "open": Kind(
        2003, False, True,
        "The model “{name}” failed several times in a row and is left alone for a moment. Try again soon.",
        "模型“{name}”连续多次失败，暂时停用，请稍后再试。",
    ),
    "incapable": Kind(
        2003, False, False,
        "No model under `models` in the gateway's configuration can do this ({detail}).",
        "网关配置的 models 中没有模型能完成此操作（{detail}）。",
    ),
}  # fmt: skip

UNUSABLE = frozenset({"missing_key", "auth", "quota", "not_found", "connection", "garbage", "open"})
"""Kinds that say that a model is not there at all."""


def failure(
    kind: str, name: str, language: str, *, status: object = "", detail: str = "", partial: str = "",
    retry_after_ms: int | None = None,
) -> ModelFailed:  # fmt: skip
    """The failure of the model entry `name`, in the person's language."""
    known = KINDS[kind]
    template = known.chinese if language.startswith("zh") else known.english
    fixed = template.replace("（{status}）", "").replace(" ({status})", "") if status == "" else template
    message = fixed.format(name=name, status=status, detail=_tame(detail))
    return ModelFailed(
        known.code, message, partial=partial, retryable=known.again or kind in ("silent", "timeout", "open"),
        retry_after_ms=retry_after_ms, kind=kind,
    )  # fmt: skip


def _tame(detail: str) -> str:
    """A server's words as one short line without control characters."""
    return "".join(c if c.isprintable() else " " for c in detail)[:200].strip()


def kind_of_status(status: int, code: str, message: str) -> str:
    """What an HTTP error means; `code` and `message` are from the error's body."""
    said = f"{code} {message}".lower()
    if "context_length" in said or "maximum context" in said or "context window" in said:
        return "context_length"
    if "too many tokens" in said and status != 429:  # there it means too many in a minute (Bedrock)
        return "context_length"
    if "content_filter" in said or "content_policy" in said:
        return "content_filter"
    if status in (401, 403):
        return "auth"
    if status == 402 or (status == 429 and ("insufficient_quota" in said or "credit" in said)):
        return "quota"
    if status == 429:
        return "rate_limit"
    if status == 413:
        return "context_length"
    if status in (404, 405) or 300 <= status < 400:
        return "not_found"
    if status in (408, 409, 425) or status >= 500:
        return "server"
    return "request"
