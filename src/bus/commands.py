"""The slash commands: names, help in both languages, who may use them.

The one registry that every channel's menu, `/help` and the agent read. What a
command does lives in `agent/commands.py` (it calls the function behind its RPC twin).
"""

from dataclasses import dataclass

from bus.errors import Forbidden
from bus.keys import SessionKey


@dataclass(frozen=True, slots=True)
class Command:
    """`scope` is what the speaker's role must hold; '' is open to everyone admitted."""

    name: str
    usage: str
    en: str
    zh: str
    scope: str = "chat"
    admin: bool = False


COMMANDS: tuple[Command, ...] = (
    Command("new", "", "start a new conversation", "开始新的对话"),
    Command("stop", "", "stop the answer in progress", "停止正在进行的回答"),
    Command("status", "", "what is going on", "查看当前状态"),
    Command("help", "", "what you can say", "查看可用命令"),
    Command("sessions", "", "your conversations", "查看你的会话"),
    Command("tools", "", "tools the assistant can use for you", "查看可用工具", "tools"),
    Command(
        "bridge",
        "[on|off|pair CODE]",
        "your computers; in a group: lend or withdraw them",
        "查看或配对你的电脑；群里可开关",
    ),
    Command("mode", "[auto|fast|single|multi]", "how the assistant works on an answer", "查看或切换工作模式"),
    Command(
        "queue", "[followup|collect|steer|interrupt]", "what a message does while I answer", "回答期间新消息的处理方式"
    ),
    Command("usage", "", "tokens and cost", "查看用量和费用"),
    Command("last", "", "show the last answer once more", "再次显示上一条回答"),
    Command("approve", "ID [once|session|always]", "allow a tool call", "允许一次工具调用", "approve"),
    Command("deny", "ID", "refuse a tool call", "拒绝一次工具调用", "approve"),
    Command("approvals", "[revoke ID]", "what you have allowed", "查看已授权的工具", "approve"),
    Command("memory", "[forget WORDS]", "what the assistant remembers of you", "查看或删除记忆"),
    Command("link", "CODE", "tie this chat account to your user", "把此账号关联到你的用户"),
    Command("language", "en|zh", "the language of buttons and notices", "切换界面语言"),
    Command("pair", "list|approve CODE|deny CODE", "who asks to be let in", "处理配对请求", "admin", True),
    Command("channels", "", "state of the channels", "查看频道状态", "admin", True),
    Command("delivery", "list|resend ID", "messages that could not be delivered", "查看未送达的消息", "admin", True),
)
START = Command("start", "", "begin to talk to the assistant", "开始与助手对话")
"""Telegram sends it by itself when a person first opens the chat; it is in no menu."""
BY_NAME: dict[str, Command] = {command.name: command for command in (*COMMANDS, START)}


def parse(text: str) -> tuple[Command, str] | None:
    """The command and its argument text, or None where `text` is none of ours.

    `/stop@my_bot` is `/stop`, as Telegram writes it in groups; case does not matter. A Chinese or Japanese keyboard
    writes the slash and the space in full width (`／link　CODE`), and a line may end behind the word.
    """
    if not is_slash(text):
        return None
    word, *rest = text[1:].split(None, 1)[:2] or [""]
    name = word.partition("@")[0].lower()
    command = BY_NAME.get(name)
    return None if command is None or text[1:2].isspace() else (command, rest[0].strip() if rest else "")


def is_slash(text: str) -> bool:
    """Whether `text` begins as a command does, known or not."""
    return text.startswith(("/", "\uff0f"))


def for_its_speaker_alone(session: SessionKey, language: str) -> None:
    """What a command would tell concerns its speaker and not the conversation. Raises Forbidden in a group."""
    if session.of_group:
        chinese = language.startswith("zh")
        raise Forbidden("这些只在私聊中告诉你。" if chinese else "I tell you that in a private chat only.")


def greeting(language: str, *, admin: bool) -> str:
    """The answer to `/start`."""
    if language.startswith("zh"):
        hello = "你好！像和人聊天一样直接写给我就行。我还认识这些命令："
    else:
        hello = "Hello! Just write to me as you would to a person. These commands I know, too:"
    return f"{hello}\n\n{help_text(language, admin=admin)}"


def help_text(language: str, *, admin: bool) -> str:
    """The lines of `/help`."""
    lines = []
    for command in COMMANDS:
        if command.admin and not admin:
            continue
        usage = f" {command.usage}" if command.usage else ""
        lines.append(f"/{command.name}{usage} – {command.zh if language.startswith('zh') else command.en}")
    return "\n".join(lines)
