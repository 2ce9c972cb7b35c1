"""Errors that cross a border, each carrying its public code.

The numbers are the public contract: the same over WebSocket, HTTP and the
tunnel. A class says what the caller may do: `retryable` errors may be sent
again, the others not. `gateway/protocol.py` alone knows their JSON-RPC and HTTP
form, and `bridge/errors.py` repeats the numbers (a test compares the two).
"""

from typing import ClassVar, Literal

Effect = Literal["none", "unknown", "done"]


class GatewayError(Exception):
    """Base of every error with a public code.

    `message` is shown to people and never holds a secret, a path or a stack.
    `retry_after_ms` is a hint in milliseconds. `effect` says, for a tool call,
    whether the world may have changed: where that is unknown, nothing is to be sent again.
    """

    code: ClassVar[int] = 1007
    retryable: bool = False

    def __init__(self, message: str = "", *, retry_after_ms: int | None = None, effect: Effect = "none") -> None:
        super().__init__(message or type(self).__doc__ or "")
        self.message = message or (type(self).__doc__ or "").strip().rstrip(".")
        self.retry_after_ms = retry_after_ms
        self.effect: Effect = effect
        if effect == "unknown":
            self.retryable = False


class BadParameters(GatewayError):
    """Bad parameters."""

    code = 1000


class Unsignable(BadParameters):
    """Arguments of a tool that would not arrive as they are: no fault of the call's envelope, so 1000 everywhere."""


class NotAuthenticated(GatewayError):
    """Not authenticated."""

    code = 1001


class Forbidden(GatewayError):
    """Forbidden."""

    code = 1002


class NotFound(GatewayError):
    """Not found."""

    code = 1003


class TimedOut(GatewayError):
    """Timed out."""

    code = 1004
    retryable = True


class RateLimited(GatewayError):
    """Rate limited."""

    code = 1005
    retryable = True


class TooLarge(GatewayError):
    """Too large."""

    code = 1006


class Overloaded(GatewayError):
    """Overloaded, try again."""

    code = 1007
    retryable = True


class IdempotencyConflict(GatewayError):
    """Idempotency key reused with other content."""

    code = 1008


class CallCancelled(GatewayError):
    """Cancelled."""

    code = 1009


class EventsGone(GatewayError):
    """Events no longer kept, read the history."""

    code = 1010


class SignatureInvalid(GatewayError):
    """Signature or nonce invalid."""

    code = 2000


class TokenExpired(GatewayError):
    """Token expired."""

    code = 2001


class Unreachable(GatewayError):
    """Bridge or upstream unreachable."""

    code = 2003
    retryable = True


class ToolDenied(GatewayError):
    """Tool denied by policy or person."""

    code = 2004


class ToolResultInvalid(GatewayError):
    """Tool result invalid or too large."""

    code = 2005


class OutcomeUnknown(GatewayError):
    """Outcome unknown, never repeated by itself."""

    code = 2006


class ConfirmationRequired(GatewayError):
    """Confirmation required."""

    code = 2007


class ServerDown(GatewayError):
    """MCP server down."""

    code = 2008
    retryable = True


class NotPossibleOffline(GatewayError):
    """Not possible offline."""

    code = 3001


class Conflict(GatewayError):
    """Conflict."""

    code = 3002


class NotInCache(GatewayError):
    """Not in the cache."""

    code = 3003


BY_CODE: dict[int, type[GatewayError]] = {cls.code: cls for cls in GatewayError.__subclasses__()}


def from_code(
    code: int, message: str = "", *, retry_after_ms: int | None = None, effect: Effect = "none",
    retryable: bool | None = None,
) -> GatewayError:  # fmt: skip
    """The error that carries `code`; an unknown code becomes `Overloaded`. `retryable` is its class's, or told."""
    error = BY_CODE.get(code, Overloaded)(message, retry_after_ms=retry_after_ms, effect=effect)
    if retryable is not None:
        error.retryable = retryable
    return error
