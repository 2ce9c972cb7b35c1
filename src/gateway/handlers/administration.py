"""The slash commands that need the gateway: each calls the function behind its RPC twin.

Implements `agent.ports.Administration` and `agent.ports.Linker`. Who may use a command was checked by
the registry's scope before; the functions check again, since they are the methods themselves.
"""

from collections.abc import Callable, Sequence

from bus.commands import for_its_speaker_alone
from bus.errors import BadParameters
from bus.events import Actor, JsonObject
from bus.keys import KeyKind, SessionKey, take_apart
from bus.wording import word
from gateway.auth import Principal, require
from gateway.handlers.asking import AskingMethods, Days, Pair
from gateway.handlers.call import Call, Nothing
from gateway.handlers.house import HouseMethods, Resend
from gateway.handlers.ports import Channels, Lending
from gateway.handlers.users import Approve, Deny, UserMethods
from gateway.identity.gatekeeper import Gate
from gateway.identity.preferences import Preferences


class Administration:
    """The commands."""

    def __init__(
        self, *, users: UserMethods, house: HouseMethods, asking: AskingMethods, gate: Gate, preferences: Preferences,
        channels: Channels | None, platforms: frozenset[str], lending: Lending,
        models: Callable[[], Sequence[JsonObject]] = tuple,
    ) -> None:  # fmt: skip
        self._users = users
        self._house = house
        self._asking = asking
        self._gate = gate
        self._preferences = preferences
        self._channels = channels
        self._platforms = platforms
        self._lending = lending
        self._models = models

    async def command(self, name: str, arguments: str, actor: Actor, session: SessionKey) -> str:
        """The answer to a command. Raises GatewayError."""
        call = Call(principal=Principal(actor.user, actor.role, actor.scopes, ""), channel=actor.channel)
        words = arguments.split()
        match name:
            case "pair":
                return await self._pair(call, words, actor, session)
            case "delivery":
                return await self._delivery(call, words, actor, session)
            case "channels":
                require(call.principal, ("admin",))
                states = self._channels.states() if self._channels is not None else {}
                lines = [
                    f"- {channel}: {word(str(state.get('state')), actor.language)}" for channel, state in states.items()
                ]
                return "\n".join(lines) or say(actor, "No channel is on.", "没有启用任何频道。")
            case "bridge":
                return await self._bridge(call, words, actor, session)
            case "status":
                return _models(self._models(), actor)
            case "usage":
                for_its_speaker_alone(session, actor.language)
                return _usage(await self._asking.usage(call, Days()), actor)
            case "language":
                return self._language(words, actor)
            case _:
                return ""

    async def _pair(self, call: Call, words: list[str], actor: Actor, session: SessionKey) -> str:
        require(call.principal, ("admin",))
        match words:
            case [] | ["list"]:
                for_its_speaker_alone(session, actor.language)
                pending = (await self._users.pending(call, Nothing()))["pending"]
                lines = [f"- `{p['code']}` {p['channel']} {p['peer_id']} {p['name']}" for p in pending]
                return "\n".join(lines) or say(actor, "Nobody asks to be let in.", "没有等待配对的人。")
            case ["approve", code]:
                user = (await self._users.approve(call, Approve(code=code)))["user"]
                return say(actor, f"Let in as {user}.", f"已允许，用户为 {user}。")
            case ["deny", code]:
                await self._users.deny(call, Deny(code=code))
                return say(actor, "Sent away.", "已拒绝。")
        raise BadParameters("/pair list|approve CODE|deny CODE")

    async def _delivery(self, call: Call, words: list[str], actor: Actor, session: SessionKey) -> str:
        require(call.principal, ("admin",))
        match words:
            case [] | ["list"]:
                for_its_speaker_alone(session, actor.language)
                found = (await self._house.deliveries(call, Nothing()))["deliveries"]
                lines = [
                    f"- `{d['delivery_id']}` {d['channel']} {word(d['state'], actor.language)}: {d['reason']}"
                    for d in found
                ]
                return "\n".join(lines) or say(actor, "Everything was delivered.", "所有消息均已送达。")
            case ["resend", delivery_id]:
                await self._house.resend(call, Resend(delivery_id=delivery_id))
                return say(actor, "It is sent again.", "正在重新发送。")
        raise BadParameters("/delivery list|resend ID")

    async def _bridge(self, call: Call, words: list[str], actor: Actor, session: SessionKey) -> str:
        if words and words[0].lower() in ("on", "off"):
            parts = take_apart(session.text, self._platforms)
            if session.scope or parts.kind is not KeyKind.GROUP:
                raise BadParameters(say(actor, "/bridge on|off is for groups", "/bridge on|off 仅用于群聊"))
            lend = words[0].lower() == "on"
            await self._lending.lend(actor.user, session, lend)
            if lend:
                return say(actor, "Your computer's tools work here now.", "你的电脑工具现在可在此群使用。")
            return say(actor, "Your computer's tools are off here.", "你的电脑工具已在此群关闭。")
        if len(words) == 2 and words[0].lower() == "pair":
            require(call.principal, ("tunnel",))
            await self._asking.pair(call, Pair(code=words[1]))
            return say(actor, "This computer is paired.", "电脑已配对。")
        for_its_speaker_alone(session, actor.language)
        bridges = (await self._asking.bridges(call, Nothing()))["bridges"]
        if not bridges:
            return say(actor, "No computer of yours is connected.", "没有连接你的电脑。")
        on, off = say(actor, "connected", "已连接"), say(actor, "away", "离线")
        return "\n".join(f"- {b['name']} ({b['bridge_id']}): {on if b['connected'] else off}" for b in bridges)

    def _language(self, words: list[str], actor: Actor) -> str:
        language = words[0].lower() if len(words) == 1 else ""
        self._preferences.choose_language(actor.user, language)
        return "好的，之后用中文。" if language == "zh" else "English from now on."

    async def link(self, code: str, actor: Actor) -> str:
        """Tie the speaker's identity on a platform to the user who made `code`. Raises NotFound, BadParameters."""
        if not actor.identity:
            raise BadParameters(
                say(actor, "/link is said on a chat platform, not here", "请在聊天平台中使用 /link，而不是这里")
            )
        return self._gate.redeem(code, actor.identity, actor.user)


def _models(entries: Sequence[JsonObject], actor: Actor) -> str:
    """The models and how they are; what failed, and when, is for admins."""
    lines = []
    for entry in entries:
        line = f"- {entry.get('name')}: {word(entry.get('state', 'ready'), actor.language)}"
        if "admin" in actor.scopes and entry.get("last_failure"):
            line += f" ({entry['last_failure']})"
        lines.append(line)
    return "\n".join([say(actor, "Models:", "模型："), *dict.fromkeys(lines)]) if lines else ""


def _usage(found: JsonObject, actor: Actor) -> str:
    days = found.get("days") or []
    lines = []
    for day in days[:7]:
        cost = day.get("cost")
        money = f" · ${cost:.4f}" if isinstance(cost, int | float) else ""
        if day.get("unpriced_tokens"):
            money += say(actor, " · {} without a known price", " · {} 价格未知").format(day["unpriced_tokens"])
        if day.get("estimated_tokens"):
            money += say(actor, " · {} estimated", " · {} 为估算").format(day["estimated_tokens"])
        lines.append(f"- {day.get('day')}: {day.get('total_tokens', 0)} tokens{money}")
    return "\n".join(lines) or say(actor, "Nothing was used yet.", "还没有用量。")


def say(actor: Actor, english: str, chinese: str) -> str:
    """In the speaker's language."""
    return chinese if actor.language.startswith("zh") else english
