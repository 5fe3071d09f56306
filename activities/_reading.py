"""Reads a response body within bounds of memory, whatever the other side sends."""

import zlib
from dataclasses import dataclass

import httpx2
from pydantic_core import from_json

from activities._client import MAX_RESPONSE_BYTES
from activities.errors import ActionError
from activities.masking import masked
from schemas.errors import ErrorCode
from schemas.run import MAX_OUTPUT_BYTES

# Room for whitespace that parsing drops; more than this is never kept in memory.
_KEPT_BYTES = 4 * MAX_OUTPUT_BYTES
# What is parsed at all; more is kept as bytes or not at all.
MAX_WHOLE_BYTES = _KEPT_BYTES
MAX_JSON_DEPTH = 64
_CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body; `size` counts all of its bytes, of which `data` may hold the first only."""

    data: bytes
    size: int

    def text(self, response: httpx2.Response) -> str:
        """Decode with the response's charset, UTF-8 by default; wrong bytes are replaced."""
        try:
            return self.data.decode(response.charset_encoding or "utf-8", errors="replace")
        except LookupError:
            return self.data.decode("utf-8", errors="replace")

    def excerpt(self, response: httpx2.Response, length: int = 500) -> str:
        """Give the beginning of the text, for an error's details."""
        # Hidden before it is cut: the first half of a secret would not be found.
        return masked(Body(self.data[: length * 64], self.size).text(response))[:length]

    def check_kept(self) -> None:
        """Refuse a body that a step could not keep; the message holds both numbers."""
        if self.size > len(self.data):
            raise ActionError(
                f"the response body has {self.size:,} bytes; a step keeps at most"
                f" {MAX_OUTPUT_BYTES:,}",
                code=ErrorCode.LIMIT_EXCEEDED,
                retryable=False,
                hint="ask the server for less, or use 'output: none' if the body is not needed",
                details={"bytes": self.size, "limit": MAX_OUTPUT_BYTES},
            )


async def read_body(response: httpx2.Response, *, whole: bool = False) -> Body:
    """Read a body to its end, decompressing in bounded pieces; keeps 1 MiB of it, or the `whole`.

    Raises ActionError LIMIT_EXCEEDED above 10 MiB before or after decompression, HTTP_ERROR for
    a coding that cannot be read.
    """
    kept, size = bytearray(), 0
    decoder = _decoder(response)
    # Not `aiter_raw`, which adds to each part what a step has no use for.
    assert isinstance(response.stream, httpx2.AsyncByteStream), "the client is asynchronous"
    async for part in response.stream:
        for piece in decoder.pieces(part):
            size += len(piece)
            if size > MAX_RESPONSE_BYTES:
                raise ActionError(
                    f"the response body is larger than {MAX_RESPONSE_BYTES:,} bytes",
                    code=ErrorCode.LIMIT_EXCEEDED,
                    retryable=False,
                    details={"limit": MAX_RESPONSE_BYTES},
                )
            if whole:
                kept += piece
            elif len(kept) < _KEPT_BYTES:
                kept += piece[: _KEPT_BYTES - len(kept)]
    return Body(bytes(kept), size)


def parse_json(text: bytes) -> object:
    """Parse a JSON body of at most 64 levels; raises ActionError HTTP_ERROR for anything else."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise _bad_body(f"the response body is not JSON: {error}") from error
    if _depth_exceeds(value, MAX_JSON_DEPTH):
        raise _bad_body(f"the response body is nested deeper than {MAX_JSON_DEPTH} levels")
    return value


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for parent in level
            for item in (
                parent.values()
                if isinstance(parent, dict)
                else parent
                if isinstance(parent, list)
                else ()
            )
        ]
        if not level:
            return False
    return True


class _Plain:
    def pieces(self, part: bytes) -> "list[bytes]":
        return [part]


class _Inflate:
    """Decompresses in pieces of at most 64 KiB, so that a bomb is counted before it is stored."""

    def __init__(self, bits: int) -> None:
        self._decoder = zlib.decompressobj(bits)

    def pieces(self, part: bytes) -> "list[bytes]":
        found: list[bytes] = []
        total = 0
        while part and total <= MAX_RESPONSE_BYTES:
            try:
                piece = self._decoder.decompress(part, 65536)
            except zlib.error as error:
                raise _bad_body(f"the response body cannot be decompressed: {error}") from error
            part = self._decoder.unconsumed_tail
            if piece:
                total += len(piece)
                found.append(piece)
            elif not part or self._decoder.eof:
                break
        return found


def _decoder(response: httpx2.Response) -> "_Plain | _Inflate":
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return _Plain()
    if coding in _CODINGS:
        return _Inflate(_CODINGS[coding])
    raise _bad_body(f"the response has the coding {coding[:40]!r}, which was not asked for")


def _bad_body(message: str) -> ActionError:
    return ActionError(message, code=ErrorCode.HTTP_ERROR, retryable=False)
