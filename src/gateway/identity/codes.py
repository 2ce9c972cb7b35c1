"""Short codes that people read to each other: 8 of 32 letters and digits, 40 bits, shown XXXX-XXXX."""

import secrets

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 8


def new_code() -> str:
    """A fresh code, without the dash."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def shown(code: str) -> str:
    """`XXXX-XXXX`."""
    return f"{code[:4]}-{code[4:]}"


def read(text: str) -> str:
    """What was meant by `text`: case, dashes and blanks do not matter."""
    return "".join(c for c in text.upper() if c not in "- \t\u2010\u2011\u2012\u2013\u2014")
