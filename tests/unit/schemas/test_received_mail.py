"""What a received mail is taken for, and how long hostile ones may take."""

from time import process_time

import pytest

from schemas.errors import InputError
from schemas.inbound_mail import InboundKind
from schemas.inbound_parsing import parse_mail, plain_address, plain_text
from schemas.mail_reports import severity
from tests.kit.inbound_mails import bounce, complaint, reply


def test_a_reply() -> None:
    found = parse_mail(reply("ada@home.example", "<sent@x.example>"))
    assert found.kind is InboundKind.REPLY
    assert found.from_address == "ada@home.example"
    assert found.subject == "Re: Grüße"
    assert found.references == ["<sent@x.example>", "<first@elsewhere.example>"]
    assert found.text == "Yes, gladly.\n"


def test_reports() -> None:
    found = parse_mail(bounce("ada@home.example", "<sent@x.example>"))
    assert found.references[0] == "<sent@x.example>"
    assert [one.recipient for one in found.failures] == ["ada@home.example"]
    assert found.failures[0].severity == "hard"
    # A report that somebody attaches to a mail is none.
    attached = bounce("ada@home.example", None).replace(b"multipart/report", b"multipart/mixed")
    assert parse_mail(attached).failures == []
    assert parse_mail(complaint("a@b.example", "<x@y>")).kind is InboundKind.COMPLAINT
    exim = b"From: Mailer-Daemon@x.example\nX-Failed-Recipients: ada@home.example\n\nno"
    assert parse_mail(exim).failures[0].recipient == "ada@home.example"


def test_the_name_in_an_address_is_no_address() -> None:
    assert plain_address('"evil@x.example, " <ada@home.example>') == "ada@home.example"
    assert plain_address("=?utf-8?q?evil=40x.example=2C?= <ada@home.example>") == "ada@home.example"
    assert plain_address("nobody") is None


def test_text_of_html() -> None:
    html = "<head><style>x{}</style></head><p>Yes &amp; no</p><div>ok<br>then</div>"
    assert plain_text(html) == "Yes & no\nok\nthen"


@pytest.mark.parametrize(
    ("status", "diagnostic", "found"),
    [
        (None, "smtp; 550 no such user", ("hard", None)),
        (None, "smtp; 450-try later", ("soft", None)),
        (None, None, ("soft", None)),
        ("5.1.8", None, ("soft", "5.1.8")),
        ("5.4.4", None, ("hard", "5.4.4")),
        ("4.2.2", "smtp; 552 5.1.1 x", ("soft", "4.2.2")),
    ],
)
def test_severity(
    status: str | None, diagnostic: str | None, found: tuple[str, str | None]
) -> None:
    assert severity(status, diagnostic) == found


HOSTILE = {
    "parameters": b"Content-Type: multipart/mixed" + b";a=b" * 250_000 + b"\r\n\r\nx",
    "comments": b"From: " + b"(" * 1_000_000 + b"\r\n\r\nx",
    "nested": b"".join(
        b"Content-Type: multipart/mixed; boundary=a%d\r\n\r\n--a%d\r\n" % (i, i)
        for i in range(14_000)
    ),
    "parts": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 100_000,
    "blocks": b"Content-Type: multipart/report; boundary=a\r\n\r\n--a\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n" + b"A: b\r\n\r\n" * 120_000,
    "words": b"From: " + b"=?utf-8?q?a?= " * 70_000 + b"\r\n\r\nx",
    "phrases": b"From: " + b"a b " * 250_000 + b"\r\n\r\nx",
    "tags": b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n" + b"<a " * 340_000,
    "bytes": bytes(range(256)) * 4000,
    "surrogates": b"From: \xff\xfe\r\nSubject: \xff\x00\r\nMessage-ID: <\xff@x>\r\n\r\n\xff\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mails_end_soon(name: str) -> None:
    began = process_time()
    try:
        found = parse_mail(HOSTILE[name])
    except InputError:
        found = None
    assert process_time() - began < 4
    if found is not None:
        found.model_dump_json().encode()
