"""The bus's slice of the settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class BusSettings(BaseModel):
    """`bus:` in the gateway's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["memory", "nats"] = "memory"
    nats_url: str = "nats://127.0.0.1:4222"
