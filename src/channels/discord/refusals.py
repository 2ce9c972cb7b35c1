"""What discord.py and aiohttp raise, as what the caller may do about it: the one table of this adapter.

Codes are Discord's JSON error codes. Imports the SDK.
"""

import asyncio
from typing import TypeAlias

import aiohttp
import discord

from channels.discord.client import ServerTrouble
from channels.errors import (
    ChannelAuthFailed,
    ChannelError,
    ChannelUnavailable,
    DeliveryRejected,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)

Foreign: TypeAlias = discord.DiscordException | aiohttp.ClientError | OSError | asyncio.TimeoutError

FOREIGN = (discord.DiscordException, aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What may come out of a call of the SDK."""

_UNKNOWN_MESSAGE = 10008
_CLOUDFLARE_SECONDS = 60.0
"""How long to keep away after a 429 that does not say (an IP ban of Cloudflare)."""


def refusal(error: Foreign) -> ChannelError:
    """The channel error for what a request raised."""
    if isinstance(error, discord.RateLimited):
        return RateLimited(error.retry_after)
    if isinstance(error, discord.LoginFailure):
        return ChannelAuthFailed("Discord refuses the bot token (Developer Portal, Bot, Reset Token)")
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return ChannelAuthFailed(
            "the Message Content Intent is off: switch it on in the Developer Portal, Bot, Privileged Gateway Intents"
        )
    if isinstance(error, ServerTrouble):
        return ChannelUnavailable(str(error))
    if isinstance(error, discord.ConnectionClosed):
        return _closed(error)
    if isinstance(error, discord.HTTPException):
        return _answered(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return ChannelUnavailable(f"cannot reach Discord: {type(error).__name__}")
    if isinstance(error, ConnectionRefusedError):
        return ChannelUnavailable("cannot reach Discord: connection refused")
    return OutcomeUnknown(f"the connection to Discord was lost: {type(error).__name__}")


def _closed(error: discord.ConnectionClosed) -> ChannelError:
    if error.code == 4004:
        return ChannelAuthFailed("Discord refuses the bot token (Developer Portal, Bot, Reset Token)")
    if error.code == 4014:
        return refusal(discord.PrivilegedIntentsRequired(None))
    return ChannelUnavailable(f"Discord closed the gateway connection with {error.code}")


def _answered(error: discord.HTTPException) -> ChannelError:
    if error.status == 401:
        return ChannelAuthFailed("Discord refuses the bot token (Developer Portal, Bot, Reset Token)")
    if error.status == 429:
        return RateLimited(_header_seconds(error))
    if error.status >= 500:
        return ChannelUnavailable(f"Discord answers {error.status}")
    reason = f"Discord refuses this: {error.status}, code {error.code}"
    if error.code == _UNKNOWN_MESSAGE:
        return MessageGone(reason)
    return DeliveryRejected(reason)


def _header_seconds(error: discord.HTTPException) -> float:
    try:
        return float(error.response.headers.get("Retry-After", ""))
    except ValueError:
        return _CLOUDFLARE_SECONDS
