"""The bridge's errors, each with its public code (the numbers of the contract, repeated from the bus).

`servers/` and `aggregator.py` raise them, `tunnel.py` and the gateway put them on the wire. `effect` says
whether the world may have changed: `none` (surely not), `unknown`, `done`.
"""

from typing import ClassVar, Literal

Effect = Literal["none", "unknown", "done"]


class BridgeError(Exception):
    """Base of every error with a public code. `message` is shown to people and holds no secret."""

    code: ClassVar[int] = 1007
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", *, retry_after_ms: int | None = None, effect: Effect = "none") -> None:
        self.message = message or (type(self).__doc__ or "").strip().rstrip(".")
        super().__init__(self.message)
        self.retry_after_ms = retry_after_ms
        self.effect: Effect = effect


class BadParameters(BridgeError):
    """Bad parameters."""

    code = 1000


class NotAuthenticated(BridgeError):
    """Not authenticated."""

    code = 1001


class Forbidden(BridgeError):
    """Forbidden."""

    code = 1002


class NotFound(BridgeError):
    """Not found."""

    code = 1003


class TimedOut(BridgeError):
    """Timed out."""

    code = 1004
    retryable = True


class RateLimited(BridgeError):
    """Rate limited."""

    code = 1005
    retryable = True


class TooLarge(BridgeError):
    """Too large."""

    code = 1006


class Overloaded(BridgeError):
    """Overloaded, try again."""

    code = 1007
    retryable = True


class IdempotencyConflict(BridgeError):
    """Idempotency key reused with other content."""

    code = 1008


class CallCancelled(BridgeError):
    """Cancelled."""

    code = 1009


class SignatureInvalid(BridgeError):
    """Signature or nonce invalid."""

    code = 2000


class TokenExpired(BridgeError):
    """Token expired."""

    code = 2001


class Unreachable(BridgeError):
    """Bridge or upstream unreachable."""

    code = 2003
    retryable = True


class ToolDenied(BridgeError):
    """Tool denied by policy or person."""

    code = 2004


class ToolResultInvalid(BridgeError):
    """Tool result invalid or too large."""

    code = 2005


class OutcomeUnknown(BridgeError):
    """Outcome unknown, never repeated by itself."""

    code = 2006


class ConfirmationRequired(BridgeError):
    """Confirmation required."""

    code = 2007


class ServerDown(BridgeError):
    """MCP server down."""

    code = 2008
    retryable = True


class McpError(Exception):
    """A JSON-RPC error that the MCP server itself answered: the call reached it, and this is its answer."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


BY_CODE: dict[int, type[BridgeError]] = {cls.code: cls for cls in BridgeError.__subclasses__()}


def from_code(
    code: int, message: str = "", *, retry_after_ms: int | None = None, effect: Effect = "none"
) -> BridgeError:
    """The error class that carries `code`; an unknown code becomes `Overloaded`."""
    return BY_CODE.get(code, Overloaded)(message, retry_after_ms=retry_after_ms, effect=effect)
