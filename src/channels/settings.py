"""The channels' slice of the settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def _text(value: object) -> object:
    """Platform ids may be written as numbers; a bool is a mistake."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


PeerId = Annotated[str, BeforeValidator(_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupSettings(_Strict):
    """An entry of `groups`. `allow_from`: members; `["*"]` all of them, empty those admitted in private too."""

    allow_from: list[PeerId] = []


class ChannelSettings(_Strict):
    """What every channel has."""

    enabled: bool | None = None
    """None: on if the environment brings its credentials."""
    allow_from: list[PeerId] = []
    dm_policy: Literal["pairing", "allowlist", "open", "off"] = "pairing"
    group_policy: Literal["mention", "open", "off"] = "mention"
    groups: dict[PeerId, GroupSettings] = {}
    streaming: Literal["auto", "draft", "edit", "off"] = "auto"
    max_media_bytes: int = Field(default=20_971_520, ge=0)


class TelegramSettings(ChannelSettings):
    """`base_url` is the server's root; `/bot…` and `/file/bot…` are added."""

    token: SecretStr | None = None
    base_url: str | None = None
    mode: Literal["polling", "webhook"] = "polling"
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None


class DiscordSettings(ChannelSettings):
    """`api_url` ends in `/api/v10`."""

    token: SecretStr | None = None
    api_url: str | None = None


class FeishuSettings(ChannelSettings):
    """`domain` is the root of the API."""

    app_id: str | None = None
    app_secret: SecretStr | None = None
    domain: str | None = None
    mode: Literal["websocket", "webhook"] = "websocket"
    encrypt_key: SecretStr | None = None
    verification_token: SecretStr | None = None


class ChannelsSettings(_Strict):
    """`channels:` in the gateway's file."""

    telegram: TelegramSettings = TelegramSettings()
    discord: DiscordSettings = DiscordSettings()
    feishu: FeishuSettings = FeishuSettings()


class SpeechSettings(_Strict):
    """`speech_to_text:` an OpenAI-compatible `/audio/transcriptions`."""

    base_url: str
    api_key: SecretStr | None = None
    model: str = "whisper-1"
