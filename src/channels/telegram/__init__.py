"""Telegram, on python-telegram-bot. The SDK is imported by `channels.telegram.channel`, so only where it is used."""
