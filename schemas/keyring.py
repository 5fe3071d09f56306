"""A ring of AES-256-GCM keys that can be rotated: for stored secrets, and for payloads."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import ErrorCode, SojournError

KEY_BYTES = 32
# 96 bits, the one size for which GCM needs no extra hashing (NIST SP 800-38D, 8.2). Random ones
# are sound for 2^32 seals under one key; rotate long before.
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class SealError(SojournError):
    """A sealed value cannot be opened: its key is not in the ring, or it was tampered with."""

    code = ErrorCode.CONFLICT


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value: the id of its key, and nonce and ciphertext in one."""

    key_id: str
    data: bytes


class KeyRing:
    """AES-256-GCM keys by id; the first one seals, all of them open."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys of 32 bytes, the current one first; raises ValueError without any."""
        if not keys:
            raise ValueError("a key ring needs at least one key")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.current = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `id:base64,id:base64`, each key 32 bytes in base64, the current one first.

        Raises ValueError that says what is wrong and never holds a key.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate((one.strip() for one in text.split(",")), start=1):
            key_id, colon, encoded = part.partition(":")
            if not colon or not _KEY_ID.fullmatch(key_id):
                raise ValueError(
                    f"entry {number} must be id:base64, the id of letters, digits, '.', '_', '-'"
                )
            if key_id in keys:
                raise ValueError(f"the key id {key_id!r} is there twice")
            keys[key_id] = _decoded(key_id, encoded)
        return cls(keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the current one first."""
        return tuple(self._ciphers)

    def seal(self, plain: bytes, aad: bytes) -> Sealed:
        """Seal bytes under the current key; `aad` must be the same when they are opened."""
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.current, nonce + self._ciphers[self.current].encrypt(nonce, plain, aad))

    def open(self, sealed: Sealed, aad: bytes) -> bytes:
        """Open what was sealed; raises SealError."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SealError(
                f"the key {sealed.key_id!r} that a stored secret needs is not in the ring",
                hint="add it to SOJOURN_SECRET_KEYS again, or store the secret anew",
            )
        nonce, ciphertext = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                f"a stored secret does not open with the key {sealed.key_id!r}",
                hint="the key's value has changed, or the row was altered; store the secret anew",
            ) from error


def _decoded(key_id: str, encoded: str) -> bytes:
    padded = encoded.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the key {key_id!r} is not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key {key_id!r} has {len(key)} bytes; it needs {KEY_BYTES}")
    return key
