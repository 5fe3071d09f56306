"""What an attempt was given in secret is hidden from what it leaves, in every form."""

import asyncio
import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from activities.masking import MASK, Masks, hide, mask_log, masked, masking

SECRET = 'p4ss/wörd"+&'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        "p4ss/w%C3%B6rd%22+&",
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_each_form_is_hidden(form: str) -> None:
    masks = Masks()
    masks.add(SECRET)
    assert masks.text(f"a {form} b {form}") == f"a {MASK} b {MASK}"
    assert masks.value({form: [form, 1, None, {"x": form}]}) == {MASK: [MASK, 1, None, {"x": MASK}]}


def test_the_longer_of_two_values_is_hidden_whole() -> None:
    masks = Masks()
    masks.add("abcd", "abcdefgh")
    assert masks.text("abcdefgh abcd") == f"{MASK} {MASK}"


def test_values_too_short_to_hide_are_left() -> None:
    masks = Masks()
    masks.add("abc")
    assert not masks
    assert masks.text("abcdef") == "abcdef"


async def test_what_a_task_of_the_attempt_hides_is_hidden_everywhere_in_it() -> None:
    async def inner() -> None:
        hide("canary-1234")

    with masking() as masks:
        await asyncio.ensure_future(inner())
        await asyncio.to_thread(hide, "other-1234")
        assert masks
        assert masked("canary-1234 other-1234") == f"{MASK} {MASK}"
        assert mask_log(None, "info", {"event": "canary-1234"}) == {"event": MASK}
    assert masked("canary-1234") == "canary-1234"
    hide("never")
