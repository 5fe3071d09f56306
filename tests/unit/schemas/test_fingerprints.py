"""Fingerprints: equal for failures of one cause, different for different causes."""

import pytest

from schemas.fingerprints import fingerprint, normalised


def of(message: str, path: str = "each[3].send", code: str = "HTTP_ERROR") -> str:
    return fingerprint("run", "lead-nurture", path, code, message)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("status 503 after 1.2 s", "status 504 after 17 s"),
        ("no mail to ada@example.com", "no mail to bob.b@mail.example.org"),
        ("GET https://a.example/x?y=1 failed", "GET http://b.example:81/z failed"),
        (
            "the run 01a1fe01-4c71-7de6-b5d1-e1d0fcd943a9 is gone",
            "the run 01a1fe05-eb0f-77bf-9aa2-bbcd27ebaab1 is gone",
        ),
        ("request req_9f8e7d6c5b4a32100 failed", "request req_0123456789abcdef0 failed"),
        ("two\n lines", "two lines"),
    ],
)
def test_what_differs_from_failure_to_failure_does_not_count(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert of(one) == of(other)
    assert of(one, "each[3].send") == of(one, "each[14].send")


def test_other_causes_have_other_fingerprints() -> None:
    found = {
        of("refused"),
        of("closed"),
        of("refused", "each[3].ask"),
        of("refused", "send"),
        of("refused", code="TIMEOUT"),
        fingerprint("send", "lead-nurture", "each[3].send", "HTTP_ERROR", "refused"),
        fingerprint("run", "other", "each[3].send", "HTTP_ERROR", "refused"),
    }
    assert len(found) == 7


def test_a_long_message_is_cut_before_it_is_searched() -> None:
    assert len(normalised("a@" * 100_000)) <= 500
