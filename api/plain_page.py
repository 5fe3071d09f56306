"""Pages of a few lines for people who follow a link: no script, nothing from elsewhere."""

from html import escape

from fastapi.responses import HTMLResponse

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "X-Robots-Tag": "noindex",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 12vh auto; max-width: 30rem;
  padding: 0 1.5rem; }}
label, input {{ display: block; }}
input {{ font: inherit; box-sizing: border-box; width: 100%; padding: .5rem;
  margin: .3rem 0 1rem; }}
button {{ font: inherit; padding: .6rem 1.2rem; cursor: pointer; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""


def plain_page(title: str, content: str, *, status: int = 200) -> HTMLResponse:
    """Give a page; `title` is text, `content` is HTML whose values are escaped already."""
    page = _PAGE.format(title=escape(title), content=content)
    return HTMLResponse(page, status_code=status, headers=_HEADERS)
