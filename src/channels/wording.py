"""What the channels themselves say to people, in English and Chinese. No platform, no logic."""

from bus.errors import GatewayError
from bus.events import Decision
from bus.wording import explain

_TEXTS: dict[str, tuple[str, str]] = {
    "allow_once": ("Allow once", "允许一次"),
    "allow_session": ("Allow for this session", "本次会话内允许"),
    "allow_always": ("Always allow", "始终允许"),
    "deny": ("Deny", "拒绝"),
    "decided_allow_once": ("✅ Allowed once", "✅ 已允许一次"),
    "decided_allow_session": ("✅ Allowed for this session", "✅ 本次会话内已允许"),
    "decided_allow_always": ("✅ Always allowed", "✅ 已始终允许"),
    "decided_deny": ("⛔ Denied", "⛔ 已拒绝"),
    "decided_expired": ("⌛ Expired", "⌛ 已过期"),
    "closed": ("This question is no longer open.", "该请求已失效。"),
    "question": ("🔐 **{tool}** wants to run", "🔐 请求运行 **{tool}**"),
    "risk": ("Risk: {risk}", "风险：{risk}"),
    "at_bridge": (
        "Answer on your computer: `ai-bridge approve {id}`",
        "请在你的电脑上执行：`ai-bridge approve {id}`",
    ),
    "by_command": ("Answer with `/approve {id}` or `/deny {id}`.", "请回复 `/approve {id}` 或 `/deny {id}`。"),
    "asks": ("❓ {message}\n\nAnswer it in the web chat.", "❓ {message}\n\n请在网页聊天中回答。"),
    "asked": ("❓ {message}", "❓ {message}"),
    "agree": ("OK", "确定"),
    "yes": ("Yes", "是"),
    "no": ("No", "否"),
    "decline": ("Don't answer", "不回答"),
    "declined": ("🚫 Not answered", "🚫 未回答"),
    "reply_text": ("Reply with your answer.", "请直接回复你的答案。"),
    "reply_number": ("Reply with a number.", "请回复一个数字。"),
    "reply_choice": ("Reply with one of them.", "请回复其中一项。"),
    "wrong_number": ("A number is needed{range}.", "请回复一个数字{range}。"),
    "wrong_length": ("The answer is too short or too long{range}.", "答案过短或过长{range}。"),
    "elsewhere": ("🖥 **From another client:**", "🖥 **来自其他客户端：**"),
    "failed": ("⚠️ {message}", "⚠️ {message}"),
    "stopped": ("⏹ Stopped.", "⏹ 已停止。"),
    "cut": ("✂️ Cut: the answer reached its limit.", "✂️ 回答达到长度上限，已截断。"),
    "empty": ("(no text in the answer)", "（回答没有文字内容）"),
    "interrupted": (
        "⚠️ This answer was lost in a restart. Please ask again.",
        "⚠️ 该回答因重启丢失，请重新提问。",
    ),
    "too_fast": ("⏳ Too many messages. Try again in {seconds} s.", "⏳ 消息过多，请在 {seconds} 秒后重试。"),
    "busy": ("⏳ I could not take this message. Please send it again.", "⏳ 未能接收这条消息，请重新发送。"),
    "refused": ("⚠️ I could not take this message: {message}", "⚠️ 未能接收这条消息：{message}"),
    "too_large": ("📎 {file} is too large (limit {limit} MB).", "📎 {file} 过大（上限 {limit} MB）。"),
    "linked": ("🔗 This account now belongs to {user}.", "🔗 此账号已关联到 {user}。"),
}


def say(name: str, language: str, **values: object) -> str:
    """The text `name` in `language` (`zh…` is Chinese, everything else English)."""
    english, chinese = _TEXTS[name]
    return (chinese if language.lower().startswith("zh") else english).format(**values)


def refusal(error: GatewayError, language: str) -> str:
    """What somebody is told to whom something was refused."""
    return explain(error.code, error.message, language)


def decided(decision: str, language: str) -> str:
    """What the text of a question says after the decision."""
    name = f"decided_{decision}"
    return say(name if name in _TEXTS else "closed", language)


DECISIONS: dict[str, Decision] = {"o": "allow_once", "s": "allow_session", "a": "allow_always", "d": "deny"}
"""One letter per decision, as the buttons carry it."""
