"""What every channel must do, whatever its platform: one suite, run over each adapter.

A channel's test module subclasses `ChannelContract` and gives it a `FakePlatform`: a
server on loopback that behaves as the platform does, and the hands and eyes of the
people on it. What a platform cannot do is said by the attributes; everything else
must hold. `docs/adding-a-channel.md` tells how a channel of another package uses this.
"""

from tests.contracts.channel.admission import Admission
from tests.contracts.channel.approvals import Approvals
from tests.contracts.channel.crashes import Crashes
from tests.contracts.channel.faults import Faults
from tests.contracts.channel.messages import Messages
from tests.contracts.channel.platform import PNG, FakePlatform, Fault
from tests.contracts.channel.questions import Questions
from tests.contracts.channel.talking import Talking

__all__ = ["PNG", "ChannelContract", "FakePlatform", "Fault"]


class ChannelContract(Talking, Admission, Messages, Faults, Crashes, Approvals, Questions):
    """The whole suite. A subclass defines `make_platform`."""
