"""Signatures: what senders sign fits; whatever is bad, old or altered does not."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from api.signatures import Proof, SchemeError, SignatureError, verify
from schemas.webhooks import NoScheme, Scheme
from tests.kit.signing import PRESETS, SECRET, STANDARD_SECRET, Preset, Sent

MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SEED = 4711
_schemes: TypeAdapter[Scheme] = TypeAdapter(Scheme)


def check(preset: Preset, sent: Sent, *secrets: str, moment: datetime = MOMENT) -> Proof:
    scheme = _schemes.validate_python(preset.verify)
    return verify(
        scheme, secrets or (preset.secret,), Headers(sent.headers), sent.body, moment=moment
    )


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_sender_signs_fits(name: str) -> None:
    preset = PRESETS[name]
    sent = preset.deliver("d-1", {"n": 1, "text": "Grüße"}, MOMENT)
    proof = check(preset, sent)
    assert proof.id == "d-1"
    assert proof.id_signed is (preset.id_header is None)
    assert (proof.timestamp is not None) is preset.timed
    # While a secret is replaced the other one signs.
    assert check(preset, sent, STANDARD_SECRET[:-4] + "AAA=", preset.secret) == proof
    edge = timedelta(minutes=5)
    assert check(preset, sent, moment=MOMENT + edge) == check(preset, sent, moment=MOMENT - edge)


def _altered(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text))
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def _spoil(preset: Preset, sent: Sent, chance: random.Random) -> list[tuple[str, Sent]]:
    """Each way of spoiling a delivery, at a place that chance picks."""
    signature = next(name for name in sent.headers if "signature" in name)
    value = sent.headers[signature]
    head, digest = value[:-40], value[-40:]
    place = chance.randrange(len(sent.body))
    body = bytearray(sent.body)
    body[place] ^= 1 << chance.randrange(7)
    ways = [
        ("altered body", Sent(sent.headers, bytes(body))),
        ("longer body", Sent(sent.headers, sent.body + b" ")),
        ("empty body", Sent(sent.headers, b"")),
        ("no signature", Sent({**sent.headers, signature: ""}, sent.body)),
        ("cut signature", Sent({**sent.headers, signature: value[:-2]}, sent.body)),
        ("altered", Sent({**sent.headers, signature: head + _altered(digest, chance)}, sent.body)),
        ("no hex", Sent({**sent.headers, signature: head + "zz" + digest[2:]}, sent.body)),
    ]
    for name in ("webhook-timestamp", "x-slack-request-timestamp", "x-sent-at"):
        if name in sent.headers:
            later = str(int(sent.headers[name]) + chance.randint(1, 60))
            ways += [
                ("altered time", Sent({**sent.headers, name: later}, sent.body)),
                ("no time", Sent({**sent.headers, name: "now"}, sent.body)),
            ]
    for name in ("webhook-id", "x-delivery"):
        if name in sent.headers and preset.timed:
            ways += [
                ("altered id", Sent({**sent.headers, name: sent.headers[name] + "x"}, sent.body)),
                ("no id", Sent({**sent.headers, name: ""}, sent.body)),
            ]
    return ways


def test_a_thousand_bad_old_and_altered_signatures_are_refused() -> None:
    chance = random.Random(SEED)
    cases: list[tuple[str, Callable[[], Proof]]] = []
    kinds: set[str] = set()
    while len(cases) < 1000:
        name = chance.choice(list(PRESETS))
        preset = PRESETS[name]
        identity = f"d-{len(cases)}"
        good = preset.deliver(identity, {"n": chance.random()}, MOMENT)
        assert check(preset, good).id == identity
        ways = _spoil(preset, good, chance)
        wrong = STANDARD_SECRET[:-4] + "AAA=" if name == "standard" else SECRET + "x"
        ways.append(("other secret", preset.deliver(identity, {"n": 1}, MOMENT, secret=wrong)))
        if preset.timed:
            away = timedelta(minutes=5, seconds=chance.randint(1, 10**6))
            ways += [
                ("old", preset.deliver(identity, {"n": 1}, MOMENT - away)),
                ("of the future", preset.deliver(identity, {"n": 1}, MOMENT + away)),
            ]
        for way, sent in ways:
            kinds.add(f"{name}: {way}")
            cases.append((f"{name}: {way}", lambda p=preset, s=sent: check(p, s)))
    passed: list[str] = []
    for name, case in cases:
        try:
            case()
        except SignatureError:
            continue
        passed.append(name)
    assert passed == []
    assert len(cases) >= 1000
    assert len(kinds) > 40, kinds


def test_the_window_is_as_set() -> None:
    sent = PRESETS["stripe"].deliver("d", {}, MOMENT)
    for tolerance, allowed in (("1h", timedelta(hours=1)), ("10s", timedelta(seconds=10))):
        scheme = _schemes.validate_python({**PRESETS["stripe"].verify, "tolerance": tolerance})
        late = MOMENT + allowed
        verify(scheme, [SECRET], sent.headers, sent.body, moment=late)
        with pytest.raises(SignatureError, match="too old"):
            verify(scheme, [SECRET], sent.headers, sent.body, moment=late + timedelta(seconds=1))


def test_without_secrets_nothing_passes() -> None:
    for preset in PRESETS.values():
        sent = preset.deliver("d", {}, MOMENT)
        scheme = _schemes.validate_python(preset.verify)
        with pytest.raises(SignatureError):
            verify(scheme, [], sent.headers, sent.body, moment=MOMENT)


def test_our_standard_webhooks_are_those_of_the_library() -> None:
    now = datetime.now(UTC)
    preset = PRESETS["standard"]
    sent = preset.deliver("d", {"n": 1}, now)
    Webhook(STANDARD_SECRET).verify(sent.body, sent.headers)
    assert check(preset, sent, moment=now).id == "d"
    several = {
        **sent.headers,
        "webhook-signature": "v1a,x v1,AAAA " + sent.headers["webhook-signature"],
    }
    assert check(preset, Sent(several, sent.body), moment=now).id == "d"


def test_a_secret_of_no_use_is_the_owners_fault() -> None:
    sent = PRESETS["standard"].deliver("d", {}, MOMENT)
    for secret in ("whsec_", "whsec_a"):
        with pytest.raises(SchemeError):
            check(PRESETS["standard"], sent, secret)


def test_without_a_scheme_the_token_is_all() -> None:
    scheme = NoScheme(scheme="none")
    assert verify(scheme, [], {"webhook-id": "d"}, b"x", moment=MOMENT) == Proof("d")
    assert verify(scheme, [], {}, b"x", moment=MOMENT) == Proof()


@pytest.mark.parametrize(
    "given",
    [
        {"signed": "{timestamp}.{body}"},
        {"signed": "{id}.{body}"},
        {"signed": "{timestamp}", "timestamp_header": "t"},
        {"signed": "{body}{body}"},
        {"timestamp_header": "t"},
        {"tolerance": "2h"},
        {"secrets": []},
        {"algorithm": "md5"},
    ],
)
def test_schemes_that_protect_nothing_are_refused(given: dict[str, object]) -> None:
    base = {"scheme": "hmac", "secrets": ["a"], "header": "x-signature"}
    _schemes.validate_python(base)
    with pytest.raises(ValidationError):
        _schemes.validate_python({**base, **given})
