"""The key ring: what it seals opens with the same key and in the same place only."""

import base64
from collections.abc import Callable

import pytest

from db.sealing import bound_to
from schemas.keyring import KEY_BYTES, KeyRing, Sealed, SealError

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
PLACE = bound_to("default", "secrets", "token")


def entry(key_id: str, key: bytes) -> str:
    return f"{key_id}:{base64.b64encode(key).decode()}"


def test_what_was_sealed_opens_again() -> None:
    ring = KeyRing.parse(f"{entry('k2', NEW)}, {entry('k1', OLD)}")
    sealed = ring.seal("päss".encode(), PLACE)
    assert sealed.key_id == ring.current == "k2"
    assert ring.key_ids == ("k2", "k1")
    assert "päss".encode() not in sealed.data
    assert ring.open(sealed, PLACE) == "päss".encode()


def test_older_keys_of_the_ring_open_and_no_longer_seal() -> None:
    sealed = KeyRing({"k1": OLD}).seal(b"value", PLACE)
    ring = KeyRing({"k2": NEW, "k1": OLD})
    assert ring.open(sealed, PLACE) == b"value"
    assert ring.seal(b"value", PLACE).key_id == "k2"


def test_nonces_are_never_the_same() -> None:
    ring = KeyRing({"k1": OLD})
    assert len({ring.seal(b"value", PLACE).data[:12] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "place",
    [
        bound_to("default", "secrets", "other"),
        bound_to("default", "connections", "token"),
        bound_to("other", "secrets", "token"),
    ],
)
def test_a_row_moved_elsewhere_does_not_open(place: bytes) -> None:
    ring = KeyRing({"k1": OLD})
    with pytest.raises(SealError, match="does not open"):
        ring.open(ring.seal(b"value", PLACE), place)


def test_what_was_altered_does_not_open() -> None:
    ring = KeyRing({"k1": OLD})
    sealed = ring.seal(b"value", PLACE)
    for at in range(len(sealed.data)):
        altered = bytearray(sealed.data)
        altered[at] ^= 1
        with pytest.raises(SealError):
            ring.open(Sealed("k1", bytes(altered)), PLACE)
    with pytest.raises(SealError):
        ring.open(Sealed("k1", b""), PLACE)


def test_a_key_that_is_gone_is_named() -> None:
    sealed = KeyRing({"k1": OLD}).seal(b"value", PLACE)
    with pytest.raises(SealError, match="'k1'"):
        KeyRing({"k2": NEW}).open(sealed, PLACE)
    with pytest.raises(SealError, match="does not open"):
        KeyRing({"k1": NEW}).open(sealed, PLACE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "entry 1 must be id:base64"),
        ("k1", "entry 1 must be id:base64"),
        (f"{entry('k1', OLD)},", "entry 2 must be id:base64"),
        (f"a b:{entry('x', OLD)[2:]}", "entry 1 must be id:base64"),
        ("k1:!!!", "'k1' is not base64"),
        ("k1:c2hvcnQ=", "'k1' has 5 bytes; it needs 32"),
        (f"{entry('k1', OLD)},{entry('k1', NEW)}", "'k1' is there twice"),
    ],
)
def test_bad_rings_are_refused_without_showing_a_key(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        KeyRing.parse(text)
    assert said in str(error.value)
    assert base64.b64encode(OLD).decode()[:20] not in str(error.value)
    assert "c2hvcnQ" not in str(error.value)


@pytest.mark.parametrize("form", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_of_base64_are_read_with_and_without_padding(
    form: Callable[[bytes], bytes],
) -> None:
    key = bytes(range(224, 256))
    for text in (form(key).decode(), form(key).decode().rstrip("=")):
        assert KeyRing.parse(f"k:{text}").open(KeyRing({"k": key}).seal(b"v", b""), b"") == b"v"
