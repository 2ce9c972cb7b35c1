"""An error's words in the person's language: what is refused in a chat is said as everything else there is.

Errors carry English for programs and logs. Whoever shows one to a person asks here; a message that was made in his
language already stays. Unknown words of ours become the sentence of their code, so that no English is left over.
"""

import re

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_USAGE = r"/[a-z]+[ |\[A-Z]"

_SENTENCES: tuple[tuple[str, str], ...] = (
    (r"no such approval, or it is over|no such approval", "没有这项授权请求，或已失效"),
    (r"no such question, or it is over|no such question", "没有这个问题，或已失效"),
    (r"no such grant", "没有这项授权"),
    (r"no such code, or it is spent or too old|no such code", "没有这个验证码，或已使用、已过期"),
    (r"no such delivery.*", "没有这条未送达的消息"),
    (r"no such bridge", "没有这台电脑"),
    (r"no such session", "没有这个会话"),
    (r"no such message", "没有这条消息"),
    (r"no such file", "没有这个文件"),
    (r"no such tool: (.*)|there is no tool named (.*)", "没有名为 {0} 的工具"),
    (r"there is no user (.*)", "没有用户 {0}"),
    (r"there is no skill named (.*)", "没有名为 {0} 的技能"),
    (r"the user (.*) exists already", "用户 {0} 已存在"),
    (r"the bridge (.*) is away", "电脑 {0} 不在线"),
    (r"this needs the scope (.*)", "这需要权限 {0}"),
    (r"only the terminal of the bridge may allow this: (.*)", "只能在那台电脑的终端中允许：{0}"),
    (r"only an owner may do this for an admin or owner", "只有所有者可以对管理员或所有者这样做"),
    (r"too many wrong codes", "错误的验证码过多，请稍后再试"),
    (r"at most (\d+) messages a minute", "每分钟最多 {0} 条消息"),
    (r"a file has at most (\d+) bytes here", "文件最大 {0} 字节"),
    (r"too many messages are waiting in this session", "这个会话中等待的消息过多"),
    (r"the assistant is starting or stopping", "助手正在启动或停止"),
    (r"this message could not be answered in three attempts", "三次尝试后仍未能回答这条消息"),
    (r"the answer took longer than (.*) seconds", "回答超过了 {0} 秒"),
    (r"something went wrong here; try again", "这里出了错，请重试"),
    (r"the program that asked is gone", "提问的程序已离开"),
    (r"stopped", "已停止"),
    (r"queue full|busy", "正忙，请稍后重试"),
)
_BY_CODE = {
    1000: "无法理解这个请求", 1001: "未登录", 1002: "没有权限", 1003: "没有找到", 1004: "超时",
    1005: "消息过多，请稍后重试", 1006: "过大", 1007: "正忙，请稍后重试", 1008: "与先前的请求冲突", 1009: "已取消",
    1010: "记录已不再保留",
    2000: "签名无效", 2001: "令牌已过期", 2003: "无法连接对方", 2004: "该工具调用被拒绝",
    2005: "工具返回的结果无效或过大", 2006: "结果未知，不会自动重试", 2007: "需要有人确认", 2008: "工具服务未运行",
    3001: "离线时无法进行", 3002: "冲突", 3003: "缓存中没有",
}  # fmt: skip
_WORDS = {
    "ready": "正常", "starting": "启动中", "degraded": "受限", "failed": "失败", "off": "未启用", "queued": "等待发送",
    "sent": "已发送", "unknown": "结果未知", "refused": "被拒绝", "allow": "允许", "ask": "需确认", "deny": "禁止",
    "started": "开始", "finished": "完成", "steered": "已采纳新消息", "plan": "计划", "handover": "移交",
    "warning": "提醒", "idle": "空闲",
}  # fmt: skip


def is_chinese(text: str) -> bool:
    """Whether it is written in Chinese, and not in Japanese, which has the same characters among its own."""
    return bool(_CHINESE.search(text)) and not _KANA.search(text)


def explain(code: int, message: str, language: str) -> str:
    """`message` of an error with `code`, in `language` (`zh…` is Chinese, everything else English)."""
    if not language.lower().startswith("zh") or _CHINESE.search(message):
        return message
    if re.match(_USAGE, message):
        return f"用法：{message}"
    for pattern, chinese in _SENTENCES:
        found = re.fullmatch(pattern, message, re.DOTALL)
        if found is not None:
            return chinese.format(next((group for group in found.groups() if group is not None), ""))
    return _BY_CODE.get(code, "出了错，请重试")


def word(name: str, language: str) -> str:
    """A state, a policy or a step in one word, in `language`; a word that isn't known stays."""
    return _WORDS.get(name, name) if language.lower().startswith("zh") else name
