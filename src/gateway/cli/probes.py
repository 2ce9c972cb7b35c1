"""Asking the outside: does a model endpoint answer, does a bot's token work, and who is it?

Used by the wizard and the doctor. Each probe returns what was found or raises ProbeFailed
with a sentence for people that holds no secret.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from gateway.cli.running import http

SECONDS = 10.0


class ProbeFailed(Exception):
    """The sentence says why; `refused` where the credentials are wrong rather than the way there."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


def _ask(url: str, *, body: Any = None, token: str | None = None, headers: dict[str, str] | None = None) -> Any:
    local = "://127." in url or "://localhost" in url or "://[::1]" in url
    try:
        status, answer = http(url, body=body, token=token, headers=headers, seconds=SECONDS, proxies=not local)
    except OSError as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or (str(reason) if type(reason) is OSError else type(reason).__name__)
        raise ProbeFailed(f"does not answer: {why}") from None
    if status in (401, 403, 404):
        raise ProbeFailed(f"refused (HTTP {status})", refused=True)
    if status >= 400:
        raise ProbeFailed(f"answered HTTP {status}")
    if not isinstance(answer, dict):
        raise ProbeFailed("answered something else than JSON")
    return answer


def models_of(base_url: str, api_key: str | None) -> Sequence[str]:
    """The models an OpenAI-compatible endpoint offers."""
    answer = _ask(base_url.rstrip("/") + "/models", token=api_key)
    found = answer.get("data")
    if not isinstance(found, list):
        raise ProbeFailed("is no OpenAI-compatible endpoint: /models gave no list")
    return sorted(str(each.get("id")) for each in found if isinstance(each, dict) and each.get("id"))


def telegram_bot(token: str, base_url: str | None = None) -> str:
    """The bot's name, `@name`."""
    answer = _ask(f"{(base_url or 'https://api.telegram.org').rstrip('/')}/bot{quote(token, safe=':')}/getMe")
    return "@" + str(answer.get("result", {}).get("username", "?"))


def discord_bot(token: str, api_url: str | None = None) -> str:
    """The bot's name."""
    url = (api_url or "https://discord.com/api/v10").rstrip("/") + "/users/@me"
    return str(_ask(url, headers={"Authorization": f"Bot {token}"}).get("username", "?"))


def feishu_app(app_id: str, app_secret: str, domain: str | None = None) -> str:
    """The app's name."""
    root = (domain or "https://open.feishu.cn").rstrip("/")
    body = {"app_id": app_id, "app_secret": app_secret}
    answer = _ask(root + "/open-apis/auth/v3/tenant_access_token/internal", body=body)
    token = answer.get("tenant_access_token")
    if not token:
        raise ProbeFailed(f"refused (code {answer.get('code')})", refused=True)
    info = _ask(root + "/open-apis/bot/v3/info", token=str(token))
    return str(info.get("bot", {}).get("app_name", "?"))
