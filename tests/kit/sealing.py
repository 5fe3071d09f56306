"""Payload encryption in tests: keys, codecs, and histories as Temporal keeps them."""

import os

from schemas.keyring import KEY_BYTES, KeyRing
from workflows.codec import PayloadEncryption, SealingCodec

# With SOJOURN_TEST_SEALED=1 the whole suite's client and workers seal what they send.
EVERYWHERE = os.environ.get("SOJOURN_TEST_SEALED") == "1"
RING = KeyRing({"payload-test": b"p" * KEY_BYTES})


def sealing(mode: PayloadEncryption = PayloadEncryption.REQUIRED) -> SealingCodec:
    """Give a codec with the suite's payload key."""
    return SealingCodec(RING, mode)


def suite_codec() -> SealingCodec | None:
    """Give the codec of the suite's own client: none unless it was asked for."""
    return sealing() if EVERYWHERE else None
