"""Identifiers that sort by the time of their making."""

import secrets
import time

_NANOSECONDS = 1_000_000


def new_id() -> str:
    """Return a UUIDv7 as 36 characters of text.

    The 12 bits after the milliseconds hold the fraction of the millisecond (RFC 9562,
    section 6.2, method 3), so that ids made in one millisecond still sort by time.
    """
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= (rest * 4096 // _NANOSECONDS) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
