"""Split: the same key goes the same way for ever, in the shares of the weights."""

from collections import Counter

from activities.conditions import variant_of

KEYS = [f"lead-{number}" for number in range(20_000)]


def shares(variants: list[tuple[str, int]], holdout: float = 0, salt: str = "flow/ab") -> Counter:
    found = Counter(variant_of(salt, key, list(variants), holdout) for key in KEYS)
    return Counter({name: round(count / len(KEYS), 4) for name, count in found.items()})


def test_shares_follow_the_weights() -> None:
    found = shares([("a", 1), ("b", 2), ("c", 7), ("never", 0)])
    # Four standard deviations of a share over so many keys are below 0.015.
    for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.7)):
        assert abs(found[name] - share) < 0.015, found
    assert "never" not in found


def test_the_holdout_comes_off_all_variants() -> None:
    found = shares([("a", 1), ("b", 1)], holdout=20)
    assert abs(found["holdout"] - 0.2) < 0.015
    assert abs(found["a"] - found["b"]) < 0.03
    assert set(shares([("a", 1)], holdout=100)) == {"holdout"}


def test_a_key_stays_with_its_variant() -> None:
    variants = [("a", 1), ("b", 1)]
    before = {key: variant_of("s", key, variants, 0) for key in KEYS[:2000]}
    assert before == {key: variant_of("s", key, variants, 0) for key in KEYS[:2000]}
    grown = {key: variant_of("s", key, variants, 30) for key in KEYS[:2000]}
    assert all(after in (before[key], "holdout") for key, after in grown.items())


def test_splits_are_independent_of_each_other() -> None:
    variants = [("a", 1), ("b", 1)]
    both = Counter(
        (variant_of("one", key, variants, 0), variant_of("two", key, variants, 0)) for key in KEYS
    )
    assert all(abs(count / len(KEYS) - 0.25) < 0.015 for count in both.values()), both
