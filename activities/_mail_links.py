"""Rewrites the HTML of a mail: campaign parameters, links that are counted, the open pixel."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

MAX_LINKS = 500  # of one mail that are counted; later ones lead straight to their target
MAX_URL = 8192  # characters of a link that is rewritten


@dataclass(frozen=True, slots=True)
class TrackedLink:
    """A link that leads through us: its opaque id, its target, its place among the links."""

    id: str
    url: str
    position: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new HTML, and the targets of the links that lead through us."""

    html: str
    links: list[TrackedLink]


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What to do with the links of one mail.

    `public_url` has no slash at its end; `tracking_id` is the mail's. Links that begin with one
    of `untouched` stay as they are.
    """

    public_url: str | None = None
    tracking_id: str | None = None
    opens: bool = False
    clicks: bool = False
    attribution: Mapping[str, str] | None = None
    untouched: tuple[str, ...] = ()


def rewrite(html: str, what: Rewriting) -> Rewritten:
    """Rewrite the `href` of every `a` and `area` that is http or https, and add the pixel.

    The rest of the source stays as it was, byte for byte.
    """
    if not (what.opens or what.clicks or what.attribution):
        return Rewritten(html, [])
    rewriter = _Rewriter(html, what)
    return rewriter.finish()


def link_id(tracking_id: str, position: int, url: str) -> str:
    """Give the id of a link: of 128 bits, the same in every attempt, and telling nothing."""
    digest = hashlib.sha256(f"link\0{tracking_id}\0{position}\0{url}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


def with_attribution(url: str, parameters: Mapping[str, str]) -> str:
    """Add campaign parameters to a URL's query; those that it has already stay as they are."""
    parts = urlsplit(url)
    there = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    added = [
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in parameters.items()
        if name not in there
    ]
    query = "&".join([*([parts.query] if parts.query else []), *added])
    return urlunsplit(parts._replace(query=query))


class _Rewriter(HTMLParser):
    """Copies the source, replacing only the tags of links."""

    def __init__(self, html: str, what: Rewriting) -> None:
        super().__init__(convert_charrefs=False)
        self._html, self._what = html, what
        self._links: list[TrackedLink] = []
        self._edits: list[tuple[int, int, str]] = []
        self._body_end: int | None = None
        self._lines = [0]
        for line in html.split("\n")[:-1]:
            self._lines.append(self._lines[-1] + len(line) + 1)

    def finish(self) -> Rewritten:
        """Read the source and give the new one."""
        self.feed(self._html)
        self.close()
        if self._what.opens:
            url = f"{self._what.public_url}/o/{self._what.tracking_id}.gif"
            pixel = f'<img src="{escape(url)}" width="1" height="1" alt="" style="border:0">'
            at = len(self._html) if self._body_end is None else self._body_end
            self._edits.append((at, at, pixel))
        pieces, at = [], 0
        for start, end, text in sorted(self._edits):
            pieces += [self._html[at:start], text]
            at = end
        pieces.append(self._html[at:])
        return Rewritten("".join(pieces), self._links)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Replace the tag of a link."""
        if tag not in ("a", "area"):
            return
        href = dict(reversed(attrs)).get("href")
        target = None if href is None else self._target(href)
        source = self.get_starttag_text()
        if target is None or target == href or source is None:
            return
        seen = False
        written: list[str] = []
        for name, value in attrs:
            if name == "href" and not seen:
                seen = True
                value = target
            written.append(name if value is None else f'{name}="{escape(value)}"')
        end = " />" if source.endswith("/>") else ">"
        start = self._place()
        self._edits.append((start, start + len(source), f"<{tag} {' '.join(written)}{end}"))

    def handle_endtag(self, tag: str) -> None:
        """Note where the body ends."""
        if tag == "body":
            self._body_end = self._place()

    def _place(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _target(self, href: str) -> str | None:
        """Give where the link is to lead; None where it stays as it is."""
        url = href.strip()
        what = self._what
        if not _is_web(url) or url.startswith(what.untouched):
            return None
        if what.attribution:
            url = with_attribution(url, what.attribution)
        if not what.clicks or what.tracking_id is None or len(self._links) >= MAX_LINKS:
            return url
        position = len(self._links)
        link = TrackedLink(link_id(what.tracking_id, position, url), url, position)
        self._links.append(link)
        return f"{what.public_url}/c/{link.id}"


def _is_web(url: str) -> bool:
    if len(url) > MAX_URL or any(ord(letter) < 33 or ord(letter) == 127 for letter in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
