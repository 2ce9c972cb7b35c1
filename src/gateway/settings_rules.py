"""What may not be combined, what this version cannot do, and what would be unsafe.

Pure judgements over settings that are valid by themselves. Above: `settings.py`,
which raises what is found here. It reads no file but to see that certificates are there.
"""

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bridge.configuration import ConfigurationError, Document, Path, Problem, RefusedForSafety
from bus.errors import BadParameters
from gateway.identity.roles import scopes_of

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings

MIN_TOKEN_CHARS = 16
"""Static tokens below this can be guessed: a warning on loopback, a refusal on a public address."""


def check(settings: "GatewaySettings", document: Document) -> list[str]:
    """Warnings for people. Raises ConfigurationError for mistakes, then RefusedForSafety."""
    mistakes = [*_not_in_this_version(settings), *_combinations(settings)]
    if mistakes:
        raise ConfigurationError(_problem(document, path, message) for path, message in mistakes)
    dangers = list(_dangers(settings))
    if dangers:
        raise RefusedForSafety(_problem(document, path, message) for path, message in dangers)
    return list(_warnings(settings))


def _problem(document: Document, path: str, message: str) -> Problem:
    parts: Path = tuple(int(part) if part.isdigit() else part for part in path.split("."))
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return Problem(document.place(parts), shown, message)


def is_public(host: str) -> bool:
    """Whether a listener on `host` can be reached from elsewhere. A name counts as public unless it is localhost."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]").split("%")[0]).is_loopback
    except ValueError:
        return True


def _not_in_this_version(settings: "GatewaySettings") -> Iterator[tuple[str, str]]:
    jwt = settings.auth.jwt
    for name in ("issuer", "audience", "jwks_url", "public_key"):
        if getattr(jwt, name) is not None:
            yield f"auth.jwt.{name}", "not in this version: JWT"
    if settings.server.tls.client_ca is not None:
        yield "server.tls.client_ca", "not in this version: mutual TLS"
    if settings.bus.backend != "memory":
        yield "bus.backend", "not in this version: only 'memory'"
    if settings.sessions.backend != "jsonl":
        yield "sessions.backend", "not in this version: only 'jsonl'"


def _combinations(settings: "GatewaySettings") -> Iterator[tuple[str, str]]:
    yield from _tls(settings)
    proxied = settings.server.tls_terminated_by_proxy and not settings.server.trusted_proxies
    if proxied and not is_public(settings.server.host):  # elsewhere it is a danger
        yield "server.tls_terminated_by_proxy", "needs server.trusted_proxies: the addresses the proxy comes from"
    names: set[str] = set()
    for index, model in enumerate(settings.models):
        if model.name in names:
            yield f"models.{index}.name", "a name that another model has"
        names.add(model.name)
    yield from _agents(settings, names)
    tokens: set[str] = set()
    for index, entry in enumerate(settings.auth.tokens):
        secret = entry.token.get_secret_value()
        if not secret.strip() or not secret.isprintable() or not secret.isascii():
            yield f"auth.tokens.{index}.token", "must be printable ASCII and not blank"
        elif secret in tokens:
            yield f"auth.tokens.{index}.token", "the same token as an entry before: whose is it?"
        tokens.add(secret)
        try:
            scopes_of(entry.role, entry.scopes)
        except BadParameters as error:
            yield f"auth.tokens.{index}.scopes", error.message
    yield from _channels(settings)


def _agents(settings: "GatewaySettings", models: set[str]) -> Iterator[tuple[str, str]]:
    known = {"main", *settings.agents}
    for index, binding in enumerate(settings.bindings):
        if binding.agent not in known:
            yield f"bindings.{index}.agent", f"there is no such agent (there are {', '.join(sorted(known))})"
    for name, profile in settings.agents.items():
        for index, model in enumerate(profile.models):
            if model not in models:
                yield f"agents.{name}.models.{index}", "there is no such entry in models"


def _tls(settings: "GatewaySettings") -> Iterator[tuple[str, str]]:
    tls = settings.server.tls
    if (tls.cert is None) != (tls.key is None):
        yield "server.tls", "needs both cert and key"
        return
    for name, path in (("cert", tls.cert), ("key", tls.key)):
        if path is not None and not path.is_file():
            yield f"server.tls.{name}", "no such file"


def _channels(settings: "GatewaySettings") -> Iterator[tuple[str, str]]:
    channels = settings.channels
    if channels.telegram.enabled:
        if channels.telegram.token is None:
            yield "channels.telegram.token", "missing: set it, or TELEGRAM_BOT_TOKEN in the environment"
        if channels.telegram.mode == "webhook":
            if not channels.telegram.webhook_secret:
                yield "channels.telegram.webhook_secret", "missing: webhook mode needs it"
            if not channels.telegram.webhook_url:
                yield "channels.telegram.webhook_url", "missing: webhook mode needs it"
    if channels.discord.enabled and channels.discord.token is None:
        yield "channels.discord.token", "missing: set it, or DISCORD_BOT_TOKEN in the environment"
    if channels.feishu.enabled:
        for key, name in (("app_id", "FEISHU_APP_ID"), ("app_secret", "FEISHU_APP_SECRET")):
            if getattr(channels.feishu, key) is None:
                yield f"channels.feishu.{key}", f"missing: set it, or {name} in the environment"
        if channels.feishu.mode == "webhook":
            for key in ("encrypt_key", "verification_token"):
                if not getattr(channels.feishu, key):
                    yield f"channels.feishu.{key}", "missing: webhook mode needs it"


def _dangers(settings: "GatewaySettings") -> Iterator[tuple[str, str]]:
    server = settings.server
    if not is_public(server.host):
        return
    tls = server.tls.cert is not None
    if not tls and not (server.tls_terminated_by_proxy and server.trusted_proxies):
        yield (
            "server.host",
            f"{server.host} can be reached from elsewhere and needs TLS: set server.tls.cert and server.tls.key, or "
            "server.tls_terminated_by_proxy with server.trusted_proxies (or use 127.0.0.1)",
        )
    for index, entry in enumerate(settings.auth.tokens):
        if len(entry.token.get_secret_value()) < MIN_TOKEN_CHARS // 2:
            yield f"auth.tokens.{index}.token", "too short for a public address: make one by `gateway token create`"


def _warnings(settings: "GatewaySettings") -> Iterator[str]:
    for index, entry in enumerate(settings.auth.tokens):
        if len(entry.token.get_secret_value()) < MIN_TOKEN_CHARS:
            yield f"auth.tokens[{index}].token is short and can be guessed: make one by `gateway token create`"
    for name in ("telegram", "discord", "feishu"):
        channel = getattr(settings.channels, name)
        if channel.enabled and (channel.dm_policy == "open" or "*" in channel.allow_from):
            yield f"channels.{name} is open: everybody who finds the bot may speak, at your cost"
