"""Discord, on discord.py. `channels.discord.channel` imports the SDK: only a gateway that uses it imports that."""
