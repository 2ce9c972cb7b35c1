"""One question to a person about one call of a tool. Above is the desk (`approvals.py`)."""

from dataclasses import dataclass

from bus.context import timestamp
from bus.events import JsonObject
from bus.keys import SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question about one call. `digest` binds tool, arguments and call."""

    approval_id: str
    user: str
    call_id: str
    tool: str
    digest: str
    arguments: JsonObject
    risk: str
    expires: float
    where: str | None = None
    session: SessionKey | None = None
    message_id: str = ""

    def public(self) -> JsonObject:
        """The fields of `approval.requested`."""
        out: JsonObject = {
            "approval_id": self.approval_id, "call_id": self.call_id, "tool": self.tool,
            "arguments": self.arguments, "risk": self.risk, "expires_at": timestamp(self.expires),
        }  # fmt: skip
        if self.session is not None:
            out["session_key"] = self.session.text
            out["message_id"] = self.message_id
        if self.where is not None:
            out["where"] = self.where
        return out
