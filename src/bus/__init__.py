"""The shared language: events, keys, errors, and the ports of the message bus.

Everything above (channels, agent, gateway) speaks it; it knows none of them and
needs only the standard library and pydantic.
"""
