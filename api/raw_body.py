"""Bodies that are read as a stream, with a cap, and kept as they came."""

from fastapi import Request

from schemas.errors import LimitError


async def read_body(request: Request, limit: int, what: str = "body") -> bytes:
    """Read the body as it came; raises LimitError above `limit` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(what, limit)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise _too_large(what, limit)
    return bytes(body)


def _too_large(what: str, limit: int) -> LimitError:
    return LimitError(f"the {what} is larger than {limit} bytes")
