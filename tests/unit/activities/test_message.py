"""Mail messages: addresses, headers and parts that cannot be broken."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import ValidationError

from activities._message import Mail, build, inline_styles, message_id, parse_address
from activities.email import EmailParams
from activities.errors import ActionError
from activities.services import MailConfig

SENDER = parse_address("Sojourn <sojourn@example.com>")


def built(**given: Any) -> EmailMessage:
    mail = {
        "message_id": "<id@example.com>",
        "sender": SENDER,
        "to": (parse_address("ada@example.com"),),
        "subject": "Hello",
        "text": "Hi",
    }
    data = build(Mail(**(mail | given))).as_bytes()
    parsed: Any = message_from_bytes(data, policy=policy.default)
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    assert data.isascii()
    return parsed


def test_headers_and_parts() -> None:
    message = built(
        to=(parse_address("Ada Löve <ada@example.com>"), parse_address("bob@example.com")),
        cc=(parse_address("c@example.com"),),
        reply_to=parse_address("Answers <r@example.com>"),
        subject="  Grüße 👋  ",
        text="Hallo Ädä,\n" + "x" * 2000,
        html="<p>Hallo Ädä</p>",
        headers={"List-Unsubscribe": "<https://example.com/u>"},
    )
    assert message["message-id"] == "<id@example.com>"
    assert message["to"].addresses[0].display_name == "Ada Löve"
    assert message["to"].addresses[1].addr_spec == "bob@example.com"
    assert message["cc"] == "c@example.com"
    assert message["reply-to"] == "Answers <r@example.com>"
    assert message["subject"] == "Grüße 👋"
    assert message["list-unsubscribe"] == "<https://example.com/u>"
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().startswith("Hallo Ädä,")
    assert "x" * 2000 in text.get_content()
    assert "<p>Hallo Ädä</p>" in html.get_content()


def test_one_part_alone() -> None:
    assert built().get_content_type() == "text/plain"
    assert built(text=None, html="<p>a</p>").get_content_type() == "text/html"


def test_styles_go_inline_and_nothing_is_fetched() -> None:
    html = (
        '<html><head><style>p { color: red }</style><link rel="stylesheet"'
        ' href="http://127.0.0.1:1/x.css"><link rel="stylesheet" href="file:///etc/passwd">'
        "</head><body><p>a</p></body></html>"
    )
    assert '<p style="color: red;">' in inline_styles(html)
    assert inline_styles("<p>as it is") == "<p>as it is"


def test_the_message_id_follows_the_step_alone() -> None:
    one = message_id("run:step", "example.com")
    assert one == message_id("run:step", "example.com")
    assert one != message_id("run:each[1].step", "example.com")
    assert one.endswith("@example.com>")
    assert len(one) == len("<@example.com>") + 32


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028"])
def test_nothing_breaks_a_header(break_: str) -> None:
    evil = f"x{break_}Bcc: victim@example.com"
    with pytest.raises(ActionError) as caught:
        built(subject=evil)
    assert caught.value.code == "INVALID_INPUT"
    for given in (
        {"to": f"a@example.com{break_}"},
        {"to": f"{evil} <a@example.com>"},
        {"subject": evil},
        {"headers": {"X-A": evil}},
        {"headers": {f"X{break_}A": "b"}},
        {"reply_to": f"a@example.com{break_}b"},
        {"from": f"Evil{break_}Name <a@example.com>"},
    ):
        with pytest.raises(ValidationError):
            EmailParams.model_validate({"to": "a@example.com", "subject": "s", "text": "t"} | given)


@pytest.mark.parametrize(
    "name",
    ["Bcc", "TO", "Message-Id", "Content-Type", "content-transfer-encoding", "Resent-To", "From"],
)
def test_structural_headers_are_not_to_be_replaced(name: str) -> None:
    with pytest.raises(ValidationError, match="set by Sojourn"):
        EmailParams.model_validate(
            {"to": "a@example.com", "subject": "s", "text": "t", "headers": {name: "x"}}
        )


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("a@example.com", "a@example.com", ""),
        ("Ada Lovelace <Ada.L@Example.com>", "Ada.L@example.com", "Ada Lovelace"),
        ('"Lovelace, Ada" <a@example.com>', "a@example.com", "Lovelace, Ada"),
        ("<a@example.com>", "a@example.com", ""),
        ("a@mail.local", "a@mail.local", ""),
        ("Ada <a@localhost>", "a@localhost", "Ada"),
        ("a@Example.TEST", "a@example.test", ""),
        ("a@bücher.example", "a@xn--bcher-kva.example", ""),
    ],
)
def test_addresses(text: str, address: str, name: str) -> None:
    parsed = parse_address(text)
    assert parsed.addr_spec == address
    assert parsed.display_name == name


@pytest.mark.parametrize(
    "text",
    ["", "a", "a@", "@b.c", "a@b@c.d", "a@example.com, b@example.com", "a b@example.com",
     "a@example.com>", "x <a@example.com> y", "a b@localhost", "a@-x.local", "@test",
     "a@[127.0.0.1]", '"a b"@example.com'],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_address(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"to": []},
        {"subject": None},
        {"text": None},
        {"template": "welcome"},
        {"data": {"a": 1}},
        {"to": [f"a{n}@example.com" for n in range(51)]},
        {"to": [f"a{n}@example.com" for n in range(30)], "cc": [f"b{n}@x.com" for n in range(21)]},
        {"unknown": 1},
    ],
)
def test_wrong_parameters(wrong: dict[str, Any]) -> None:
    good = {"to": "a@example.com", "subject": "s", "text": "t"}
    given = good | wrong if wrong else {"subject": "s", "text": "t"}
    with pytest.raises(ValidationError):
        EmailParams.model_validate(given)


def test_a_validation_error_never_repeats_an_address() -> None:
    with pytest.raises(ValidationError) as caught:
        EmailParams.model_validate(
            {"to": "secret-person@@example.com", "subject": "s", "text": "t"}
        )
    messages = [fault["msg"] for fault in caught.value.errors()]
    assert not any("secret-person" in message for message in messages)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "username", "password"),
    [
        ("smtp://localhost:1025", "localhost", 1025, "opportunistic", None, None),
        ("smtp://mail.example.com", "mail.example.com", 25, "opportunistic", None, None),
        ("smtps://u%40x:p%3Aw@mail:466", "mail", 466, "implicit", "u@x", "p:w"),
        ("smtps://mail", "mail", 465, "implicit", None, None),
        ("smtp://mail:587?starttls=required", "mail", 587, "starttls", None, None),
        ("smtp://mail:587?starttls=false", "mail", 587, "none", None, None),
    ],
)
def test_smtp_urls(
    url: str, host: str, port: int, tls: str, username: str | None, password: str | None
) -> None:
    config = MailConfig.from_url(url)
    assert (config.host, config.port, config.tls) == (host, port, tls)
    assert (config.username, config.password) == (username, password)
    assert "p:w" not in repr(config)


@pytest.mark.parametrize("url", ["", "http://mail", "smtp://", "smtp://mail?starttls=maybe"])
def test_wrong_smtp_urls(url: str) -> None:
    with pytest.raises(ValueError, match="SMTP URL"):
        MailConfig.from_url(url)
