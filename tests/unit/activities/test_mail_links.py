"""Rewriting of a mail's HTML: only links change, and they lead nowhere but to what was stored."""

from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities._mail_links import MAX_LINKS, Rewriting, link_id, rewrite, with_attribution

BASE = "https://mail.example.com"
CLICKS = Rewriting(public_url=BASE, tracking_id="track-1", clicks=True)
OPENS = Rewriting(public_url=BASE, tracking_id="track-1", opens=True)


class Hrefs(HTMLParser):
    """The first href of every tag, as a mail client reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str | None] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if "href" in names:
            self.found.append(attrs[names.index("href")][1])


def test_a_link_leads_through_us() -> None:
    html = '<p>Hi</p>\n<a class=x href="https://a.example/?q=1&amp;r=2" download>go &amp; see</a>'
    found = rewrite(html, CLICKS)
    (link,) = found.links
    assert (link.url, link.position) == ("https://a.example/?q=1&r=2", 0)
    expected = f'<a class="x" href="{BASE}/c/{link.id}" download>go &amp; see</a>'
    assert found.html == f"<p>Hi</p>\n{expected}"


def test_ids_are_the_same_in_every_attempt_and_differ_between_mails_and_places() -> None:
    html = '<a href="https://a.example/"></a><a href="https://a.example/"></a>'
    first, again = rewrite(html, CLICKS), rewrite(html, CLICKS)
    assert first == again
    assert len({link.id for link in first.links}) == 2
    assert link_id("track-2", 0, "https://a.example/") != first.links[0].id
    assert all(len(link.id) == 22 for link in first.links)


@pytest.mark.parametrize(
    "href",
    [
        "mailto:ada@example.com",
        "tel:+1",
        "#top",
        "/relative",
        "//a.example/x",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://a.example",
        "https://",
        "https://[::1",
        "https://a.example/\nx",
        "https://a.example/" + "x" * 9000,
    ],
)
def test_other_links_stay(href: str) -> None:
    html = f'<a href="{href}">x</a>'
    assert rewrite(html, CLICKS).html == html
    assert rewrite(html, CLICKS).links == []


def test_what_is_no_link_of_the_text_stays() -> None:
    html = (
        '<!-- <a href="https://a.example">x</a> --><style>a{background:url(https://a.example)}'
        '</style><link href="https://a.example/x.css"><img src="https://a.example/x.png">'
        "<script>'<a href=\"https://a.example\">'</script>"
    )
    assert rewrite(html, CLICKS).html == html


def test_the_unsubscribe_link_stays() -> None:
    html = f'<a href="{BASE}/u/track-1">stop</a><a href="https://a.example">x</a>'
    what = Rewriting(
        public_url=BASE,
        tracking_id="track-1",
        clicks=True,
        attribution={"utm_source": "s"},
        untouched=(f"{BASE}/u/track-1",),
    )
    found = rewrite(html, what)
    assert f'<a href="{BASE}/u/track-1">stop</a>' in found.html
    assert [link.url for link in found.links] == ["https://a.example?utm_source=s"]


def test_links_beyond_the_limit_lead_straight_on() -> None:
    html = "".join(f'<a href="https://a.example/{n}">x</a>' for n in range(MAX_LINKS + 1))
    found = rewrite(html, CLICKS)
    assert len(found.links) == MAX_LINKS
    assert found.html.endswith(f'<a href="https://a.example/{MAX_LINKS}">x</a>')


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "https://a.example?utm_source=news+letter"),
        ("https://a.example/x?y=1#part", "https://a.example/x?y=1&utm_source=news+letter#part"),
        ("https://a.example/?utm_source=own", "https://a.example/?utm_source=own"),
        ("https://a.example/?utm_source=", "https://a.example/?utm_source="),
    ],
)
def test_attribution(url: str, expected: str) -> None:
    made = with_attribution(url, {"utm_source": "news letter"})
    assert made == expected.replace("+", "%20")
    assert len(parse_qsl(urlsplit(made).query, keep_blank_values=True)) >= 1


def test_attribution_alone_stores_nothing() -> None:
    found = rewrite(
        '<a href="https://a.example/">x</a>', Rewriting(attribution={"utm_campaign": "a&b"})
    )
    assert found.html == '<a href="https://a.example/?utm_campaign=a%26b">x</a>'
    assert found.links == []


@pytest.mark.parametrize(
    ("html", "before"),
    [
        ("<html><body><p>x</p></body></html>", "<html><body><p>x</p>"),
        ("<p>x</p>", "<p>x</p>"),
        ("<body></body><body>y</BODY>", "<body></body><body>y"),
    ],
)
def test_the_pixel(html: str, before: str) -> None:
    found = rewrite(html, OPENS).html
    pixel = f'<img src="{BASE}/o/track-1.gif" width="1" height="1" alt="" style="border:0">'
    assert found == before + pixel + html[len(before) :]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<a href='https://a.example/", "'", '"', ">", "<", "</a>", "&amp;", "\n", "\r\n", "x",
             "<a href=https://b.example>", "<!--", "-->", "é", "<body>", "</body>", "<style>",
             "</style>", "<a/href='https://c.example' />", "&#x27;", " onclick=alert(1)", "\f"]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_whatever_the_source_clients_see_our_links_or_the_old_ones(parts: list[str]) -> None:
    html = "".join(parts)
    found = rewrite(html, CLICKS)
    ours = [f"{BASE}/c/{link.id}" for link in found.links]
    old, new = Hrefs(html).found, Hrefs(found.html).found
    assert len(old) == len(new)
    changed = [after for before, after in zip(old, new, strict=True) if before != after]
    assert changed == ours
    assert rewrite(html, Rewriting()).html == html
