"""What the terminal says, in English and Chinese, and how text from elsewhere is made safe to show."""

import os
import re
from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str]] = {
    "hello": ("Connected to {server} as {user}. /help shows what you can say, Ctrl-D leaves.",
              "已连接 {server}，用户 {user}。/help 查看可用命令，Ctrl-D 退出。"),
    "lost": ("The connection is lost; trying again …", "连接已断开，正在重连……"),
    "back": ("Connected again.", "已重新连接。"),
    "stopping": ("Stopping the answer; once more leaves.", "正在停止回答；再按一次退出。"),
    "leave": ("Once more leaves.", "再按一次退出。"),
    "cut": ("(stopped)", "（已停止）"),
    "length": ("(cut: too long)", "（已截断：过长）"),
    "afresh": ("The gateway was interrupted; the answer begins afresh.", "网关中断，回答重新开始。"),
    "ask": ("May the assistant use {tool}?", "允许助手使用 {tool} 吗？"),
    "ask_keys": ("[o]nce  [s]ession  [a]lways  [N]o: ", "[o]允许一次  [s]本会话  [a]总是允许  [N]拒绝: "),
    "yes_no": ("[y]es  [N]o: ", "[y]是  [N]否: "),
    "elsewhere": ("Only the terminal of the bridge may answer: ai-bridge approve {id}",
                  "只能在电脑端确认：ai-bridge approve {id}"),
    "waiting": ("waiting for a yes: {tool} (/approve {id})", "等待批准：{tool}（/approve {id}）"),
    "allow_once": ("allowed once", "已允许一次"),
    "allow_session": ("allowed for this session", "本会话内已允许"),
    "allow_always": ("always allowed", "已设为总是允许"),
    "deny": ("denied", "已拒绝"),
    "expired": ("expired", "已过期"),
    "question": ("A tool asks: {message}", "工具询问：{message}"),
    "decline": ("(empty line: leave out, Ctrl-C: decline)", "（空行：跳过，Ctrl-C：拒绝）"),
}  # fmt: skip

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def language(environ: Mapping[str, str] | None = None) -> str:
    """`zh` or `en`, by the terminal's locale."""
    environ = os.environ if environ is None else environ
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


def say(name: str, lang: str, **values: object) -> str:
    """A sentence of ours in `lang`."""
    return WORDS[name][1 if lang == "zh" else 0].format(**values)


def readable(text: str) -> str:
    """Text of the model, a tool or another person without what could move the cursor or hide itself."""
    return _CONTROL.sub(_visible, text.replace("\r\n", "\n"))


def revealed(text: str) -> str:
    """The same for what somebody says yes to: nothing at all may hide in it, be it only without width."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)


def _visible(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
