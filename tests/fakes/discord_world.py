"""What the fake Discord holds: users, guilds, channels, threads and messages, and what people see of them.

Plain data with Discord's rules about it (snowflake ids, one message per enforced
nonce); no sockets. Used by `discord_server.py`.
"""

import itertools
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
EPOCH_MS = 1_420_070_400_000
TEXT, DM, THREAD = 0, 1, 11
_count = itertools.count()


def snowflake() -> str:
    """A new id, rising with time."""
    return str((time.time_ns() // 1_000_000 - EPOCH_MS) << 22 | next(_count) & 0x3FFFFF)


def now() -> str:
    """Discord's form of a time."""
    return datetime.now(UTC).isoformat()


def user(user_id: str, name: str = "", *, bot: bool = False) -> Object:
    """A user object."""
    return {
        "id": user_id,
        "username": name or f"user{user_id}",
        "discriminator": "0",
        "global_name": name or None,
        "avatar": None,
        "bot": bot,
        "public_flags": 0,
    }


@dataclass
class World:
    """Everything, keyed by id. `bot` is the assistant's own user."""

    bot: Object
    channels: dict[str, Object] = field(default_factory=dict)
    messages: dict[str, list[Object]] = field(default_factory=dict)
    guild_names: dict[str, str] = field(default_factory=dict)
    reactions: list[tuple[str, str]] = field(default_factory=list)
    """(message id, emoji) that the bot put."""
    typing: list[str] = field(default_factory=list)
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    nonces: dict[tuple[str, str], Object] = field(default_factory=dict)
    edits: list[tuple[str, str]] = field(default_factory=list)
    """(message id, content) of every edit, in order."""

    def guild(self, guild_id: str, name: str = "guild") -> str:
        """Make a guild."""
        self.guild_names[guild_id] = name
        return guild_id

    def channel(self, channel_id: str, *, guild: str | None = None, parent: str | None = None) -> Object:
        """Make (or find) a text channel, a thread of `parent`, or without a guild a private channel."""
        found = self.channels.get(channel_id)
        if found is not None:
            return found
        made: Object = {"id": channel_id, "type": DM, "last_message_id": None, "flags": 0}
        if guild is not None:
            made |= {"type": TEXT, "guild_id": guild, "name": f"channel-{channel_id}", "position": 0, "nsfw": False}
            made |= {"permission_overwrites": [], "topic": None, "rate_limit_per_user": 0, "parent_id": None}
        if parent is not None:
            made |= {
                "type": THREAD,
                "parent_id": parent,
                "owner_id": self.bot["id"],
                "name": f"thread-{channel_id}",
                "message_count": 0,
                "member_count": 2,
                "rate_limit_per_user": 0,
                "thread_metadata": {
                    "archived": False,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": now(),
                    "locked": False,
                },
            }
        self.channels[channel_id] = made
        self.messages[channel_id] = []
        return made

    def private_channel(self, user_id: str) -> Object:
        """The private channel with this user; its id differs from the user's, as on Discord."""
        channel = self.channel(f"70{user_id}")
        channel.setdefault("recipients", [user(user_id)])
        return channel

    def guild_objects(self) -> list[Object]:
        """The payloads of GUILD_CREATE."""
        made = []
        for guild_id, name in self.guild_names.items():
            inside = [c for c in self.channels.values() if c.get("guild_id") == guild_id]
            made.append(
                {
                    "id": guild_id,
                    "name": name,
                    "owner_id": "1",
                    "unavailable": False,
                    "large": False,
                    "member_count": 3,
                    "joined_at": now(),
                    "roles": [self.everyone(guild_id), self.bot_role(guild_id)],
                    "emojis": [],
                    "features": [],
                    "members": [{"user": self.bot, "roles": [f"8{guild_id}"], "joined_at": now(), "deaf": False,
                                 "mute": False, "flags": 0}],
                    "channels": [c for c in inside if c["type"] != THREAD],
                    "threads": [c for c in inside if c["type"] == THREAD],
                    "voice_states": [],
                    "presences": [],
                    "stage_instances": [],
                    "guild_scheduled_events": [],
                    "soundboard_sounds": [],
                }
            )  # fmt: skip
        return made

    def everyone(self, guild_id: str) -> Object:
        """The role that all have; its id is the guild's."""
        return self._role(guild_id, "@everyone", {})

    def bot_role(self, guild_id: str) -> Object:
        """The role that Discord makes for the bot."""
        return self._role(f"8{guild_id}", "assistant", {"bot_id": self.bot["id"]})

    @staticmethod
    def _role(role_id: str, name: str, tags: Object) -> Object:
        return {"id": role_id, "name": name, "color": 0, "hoist": False, "position": 0, "permissions": "0",
                "managed": bool(tags), "mentionable": False, "flags": 0, "tags": tags}  # fmt: skip

    def add(self, channel_id: str, author: Object, content: str, **more: Any) -> Object:
        """Store a message."""
        message: Object = {
            "id": snowflake(),
            "channel_id": channel_id,
            "author": author,
            "content": content,
            "timestamp": now(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "components": [],
            "pinned": False,
            "type": 0,
            "flags": 0,
        } | more
        guild = self.channels[channel_id].get("guild_id")
        if guild is not None:
            message["guild_id"] = guild
        self.messages[channel_id].append(message)
        self.channels[channel_id]["last_message_id"] = message["id"]
        return message

    def find(self, channel_id: str, message_id: str) -> Object | None:
        """A message, or None."""
        return next((m for m in self.messages.get(channel_id, []) if m["id"] == message_id), None)

    def visible(self, channel_id: str) -> list[str]:
        """What a person in this channel sees of the bot now: its messages' texts, oldest first."""
        mine = self.bot["id"]
        return [m["content"] for m in self.messages.get(channel_id, []) if m["author"]["id"] == mine]

    def shown(self, channel_id: str) -> list[Object]:
        """The bot's messages themselves."""
        mine = self.bot["id"]
        return [m for m in self.messages.get(channel_id, []) if m["author"]["id"] == mine]
