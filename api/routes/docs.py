"""GET /docs: the operations as a page to read and try; nothing in it comes from elsewhere."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from api.auth import public
from schemas.errors import NotFoundError

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)
# The page's script is a file too: with no inline script the policy needs no nonce.
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Both addresses are relative to the page's own.
_START = """\
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, filter: true});
"""
_HELD = Path(str(files("fastapi_swagger.resources")))
_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs", response_class=HTMLResponse)
@public
async def show_docs(request: Request) -> HTMLResponse:
    """The page."""
    page = _PAGE.format(title=request.app.title)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/start.js")
@public
async def start_docs() -> Response:
    """The page's own script."""
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
@public
async def get_docs_file(name: str) -> FileResponse:
    """A file of Swagger UI, of the list above only."""
    if name not in _FILES:
        raise NotFoundError(f"the documentation has no file named {name!r}")
    return FileResponse(
        _HELD / name, media_type=_FILES[name], headers={"Cache-Control": "max-age=86400"}
    )
