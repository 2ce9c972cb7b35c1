"""What may go wrong towards a platform, named by what the caller may do about it.

An adapter maps its SDK's exceptions to these by a table and lets nothing else out.
`delivery.py` and `manager.py` decide by the class alone. Nothing here crosses the
gateway's border, so these carry no public code.
"""


class ChannelError(Exception):
    """Base. `reason` is shown to the operator; it holds no token and no text of a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChannelUnavailable(ChannelError):
    """The platform certainly did not do it (refused connection, 5xx, TLS failure): try again later."""


class ChannelAuthFailed(ChannelError):
    """The token is refused, or this bot is not allowed to run: stop, tell the operator, look again later."""


class RateLimited(ChannelError):
    """The platform asks to wait `retry_after` seconds; nothing was done."""

    def __init__(self, retry_after: float, reason: str = "rate limited by the platform") -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class DeliveryRejected(ChannelError):
    """The platform refuses this for good (blocked, no rights, bad content): do not repeat it."""


class MessageGone(DeliveryRejected):
    """The message to edit or delete is no longer there: nobody sees it."""


class EditExpired(DeliveryRejected):
    """The message is still seen, but the platform no longer lets it be edited."""


class OutcomeUnknown(ChannelError):
    """The connection was lost or timed out after the request left: it may have been done, or not."""


class DraftsUnsupported(DeliveryRejected):
    """This chat knows no drafts: stream by edits instead."""
