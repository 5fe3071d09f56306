"""Sealed values: what is stored encrypted, under a ring of keys that can be rotated."""

from schemas.keyring import KEY_BYTES, KeyRing, Sealed, SealError

__all__ = ["KEY_BYTES", "KeyRing", "SealError", "Sealed", "bound_to"]


def bound_to(workspace: str, table: str, name: str) -> bytes:
    """Give the associated data of a row: a sealed value opens nowhere but in its own."""
    return f"{workspace}|{table}|{name}".encode()
