"""The channels' slice of the settings."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator


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


class ChannelsSettings(BaseModel):
    """`channels:` in the gateway's file. Further names are those of installed channels of other packages."""

    model_config = ConfigDict(extra="allow", frozen=True)

    telegram: TelegramSettings = TelegramSettings()
    discord: DiscordSettings = DiscordSettings()
    feishu: FeishuSettings = FeishuSettings()

    @model_validator(mode="before")
    @classmethod
    def _others(cls, data: Any) -> Any:
        """Sections of installed channels become their own settings; any other name is a mistake."""
        if not isinstance(data, dict) or not (unknown := [name for name in data if name not in cls.model_fields]):
            return data
        from channels.registry import third_party

        found, checked, errors = third_party(), dict(data), []
        for name in unknown:
            if name in found:
                try:
                    checked[name] = found[name]().settings_model.model_validate(data[name])
                except ValidationError as error:
                    errors += [{**each, "loc": (name, *each["loc"])} for each in error.errors()]
            else:
                errors.append({"type": "extra_forbidden", "loc": (name,), "input": data[name]})
        if errors:
            # what errors() gives is taken back, says pydantic
            raise ValidationError.from_exception_data(cls.__name__, errors)  # type: ignore[arg-type]
        return checked

    def of(self, name: str) -> ChannelSettings | None:
        """The section of the channel `name`, of whatever package."""
        found = getattr(self, name, None)
        return found if isinstance(found, ChannelSettings) else None

    def names(self) -> list[str]:
        """All channels there are sections for, the built-in ones first."""
        return [*type(self).model_fields, *(self.__pydantic_extra__ or {})]


class SpeechSettings(_Strict):
    """`speech_to_text:` an OpenAI-compatible `/audio/transcriptions`."""

    base_url: str
    api_key: SecretStr | None = None
    model: str = "whisper-1"
