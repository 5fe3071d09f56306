"""Mail templates: what they may do, and what stops them."""

import time
import tracemalloc
from typing import Any

import pytest

from activities.errors import ActionError
from activities.liquid import check_template, render, render_preview, template_variables


def shown(source: str, html: bool = False, **data: Any) -> str:
    return render(source, data, html=html)


@pytest.mark.parametrize(
    ("source", "data", "text"),
    [
        ("Hi {{ name }}!", {"name": "Ada"}, "Hi Ada!"),
        ("{{ lead.fields.size }}", {"lead": {"fields": {"size": 3}}}, "3"),
        ("{{ name | default: 'you' }}", {}, "you"),
        ("{% if company %}at {{ company }}{% else %}there{% endif %}", {}, "there"),
        ("{% for one in many %}{{ one | upcase }},{% endfor %}", {"many": ["a", "b"]}, "A,B,"),
        ("{{ '2026-11-21' | date: '%d.%m.%Y' }}", {}, "21.11.2026"),
        ("{{ 7 | times: 6 }}", {}, "42"),
        ("{{ price | round: 2 }}", {"price": 1.005}, "1.0"),
    ],
)
def test_templates_render(source: str, data: dict[str, Any], text: str) -> None:
    assert render(source, data, html=False) == text


def test_values_are_escaped_in_html_alone() -> None:
    name = "<script>alert('x')</script>"
    assert shown("{{ name }}", name=name) == name
    assert "<script>" not in shown("<b>{{ name }}</b>", html=True, name=name)
    assert shown("<b>{{ name }}</b>", html=True, name="a & b") == "<b>a &amp; b</b>"


def test_a_missing_value_names_itself_and_its_place() -> None:
    with pytest.raises(ActionError) as caught:
        render("Hi,\n{{ lead.fields.phone }}", {"lead": {"fields": {}}}, html=False, part="text")
    error = caught.value
    assert error.code == "EXPRESSION_ERROR"
    assert not error.retryable
    assert "lead.fields.phone" in error.message
    assert "text (line 2)" in error.message
    assert error.hint is not None
    assert error.problems[0].position is not None
    assert error.problems[0].position.line == 2


BOMBS = [
    "{% for i in (1..100000) %}a{% endfor %}",
    "{% for i in (1..100) %}{% for j in (1..100) %}a{% endfor %}{% endfor %}",
    "{% for i in (1..70) %}" * 3 + "a" + "{% endfor %}" * 3,
    "{% for i in (1..4000) %}a{% endfor %}" * 3,
    "{% tablerow i in (1..100000) %}a{% endtablerow %}",
    "{% assign x='a' %}" + "{% assign x = x | append: x %}" * 40,
    "{% capture x %}a{% endcapture %}" + "{% capture x %}{{ x }}{{ x }}{% endcapture %}" * 40,
    "{{ big | replace: 'a', big }}",
    "{{ big | split: '' | join: big }}",
    "{% assign y = (1..1000000000) %}{{ y | join: 'aaa' }}",
    "{{ (1..9999999999999999999999) | size }}",
    "{{ 5 | round: -1000000000 }}",
    "{{ 999999999999999999 | times: 999999999999999999 | times: 99999 }}",
    "{{ big }}" * 20,
    "{% if a %}" * 50 + "{% endif %}" * 50,
    "{{ x | escapejs }}",
    "a" * 300_000,
]


@pytest.mark.parametrize("source", BOMBS, ids=[bomb[:40] for bomb in BOMBS])
def test_bombs_are_stopped(source: str) -> None:
    begun = time.monotonic()
    tracemalloc.start()
    with pytest.raises(ActionError) as caught:
        render(source, {"big": "a" * 60_000, "x": "<" * 100_000}, html=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == "EXPRESSION_ERROR"
    assert peak < 32 * 1024 * 1024
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "source",
    [
        "{% include 'other' %}",
        "{% render 'other' %}",
        "{{ x | safe }}",
        "{{ x | nope }}",
        "{{ x",
        "{% for",
        "{% endif %}",
        "{% if x %}",
    ],
)
def test_what_publishing_refuses(source: str) -> None:
    problems = check_template(source, path="html")
    assert problems
    assert all(problem.path == "html" for problem in problems)
    with pytest.raises(ActionError):
        shown(source, x="a")


def test_python_stays_out_of_reach() -> None:
    for source in ("{{ x.__class__ }}", "{{ x.__init__.__globals__ }}", "{{ x['__class__'] }}"):
        with pytest.raises(ActionError):
            shown(source, x="text")


def test_good_templates_have_no_problems() -> None:
    assert check_template("{{ a | default: 'b' | upcase }}{% if c %}d{% endif %}") == []
    assert template_variables("{{ lead.name }}{% for o in offers %}{{ o }}{% endfor %}") == [
        "lead",
        "offers",
    ]


def test_a_preview_renders_every_part() -> None:
    parts = render_preview(
        subject=" Hello\n {{ name }} ",
        text="{{ name }}",
        html="<i>{{ name }}</i>",
        data={"name": "<"},
    )
    assert (parts.subject, parts.text, parts.html) == ("Hello <", "<", "<i>&lt;</i>")
    assert render_preview(
        subject="a", text=None, html=None, data={}, override="{{ b }}"
    ).subject == ("{{ b }}")
