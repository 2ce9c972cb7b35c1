"""Who people are: users, tokens, pairing, links between their accounts, one-time logins, the gatekeeper.

Plain synchronous stores over small files under `$GATEWAY_HOME/identity`, owned by one process at a
time. `auth.py` and `handlers/` stand above; they decide who may ask, these know what is so.
"""
