"""What no request may hold anywhere: PostgreSQL and other JSON readers cannot keep it."""

from fastapi import Request

from schemas.errors import InputError
from schemas.storable import MAX_JSON_DEPTH, find_unstorable

__all__ = ["MAX_JSON_DEPTH", "find_unstorable", "refuse_unstorable"]


async def refuse_unstorable(request: Request) -> None:
    """App-level dependency: 422 for what no table and no payload could keep."""
    if "\x00" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise InputError("the address holds the NUL character")
    if request.scope["route"].body_field is None:
        # No JSON body is taken here; the routes for definitions read their text themselves.
        return
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        return
    if not await request.body():
        return
    try:
        value = await request.json()
    except (ValueError, RecursionError):
        # FastAPI has answered 422 or 400 already.
        return
    if fault := find_unstorable(value):
        raise InputError(f"the body cannot be stored: {fault}")
