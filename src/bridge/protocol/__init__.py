"""The tunnel's protocol: envelopes, signatures, flow control, and both sides as machines without a socket.

The one door through which the gateway knows the bridge's wire. `GatewaySession` is the gateway's side of one
bridge and outlives its connections; `BridgeLink` is one connection of the bridge, sharing an `Outbox` with the
next. `docs/tunnel.md` describes the wire.
"""

from bridge.protocol.bridge_effects import BridgeIdentity
from bridge.protocol.bridge_side import BridgeLink
from bridge.protocol.canonical import arguments_hash, canonical, new_key, signature
from bridge.protocol.frames import Close, Frame, Send, decode, encode
from bridge.protocol.gateway_effects import Limits, Outgoing
from bridge.protocol.gateway_side import GatewaySession
from bridge.protocol.hello import Hello, Refusal, hello_of, read_hello
from bridge.protocol.outbox import Answer, Outbox

__all__ = [
    "Answer", "BridgeIdentity", "BridgeLink", "Close", "Frame", "GatewaySession", "Hello", "Limits", "Outbox",
    "Outgoing", "Refusal", "Send", "arguments_hash", "canonical", "decode", "encode", "hello_of", "new_key",
    "read_hello", "signature",
]  # fmt: skip
