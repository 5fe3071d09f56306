import tomllib
from pathlib import Path

import pytest

from dev.supply import disallowed, unhashed, vulnerable
from tests.faults.evidence import figures

ROOT = Path(__file__).parents[3]
FILE = {"url": "https://example.org/a.whl", "hash": "sha256:00"}


def test_every_locked_file_has_a_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    without = list(unhashed(lock))
    assert without == []
    figures("T24 locked packages", packages=len(lock["package"]), without_a_hash=len(without))


@pytest.mark.parametrize(
    "package",
    [
        {"source": {"registry": "r"}, "wheels": [FILE, {"url": "b"}]},
        {"source": {"registry": "r"}, "wheels": [FILE], "sdist": {"url": "b"}},
        {"source": {"registry": "r"}, "wheels": [FILE | {"hash": "md5:00"}]},
        {"source": {"registry": "r"}},
        {"source": {"git": "https://example.org/a.git"}, "wheels": [FILE]},
    ],
)
def test_a_file_without_a_hash_is_found(package: dict) -> None:
    lock = {"package": [{"name": "a", "version": "1"} | package]}
    assert len(list(unhashed(lock))) == 1


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT License", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0 OR MIT", True),
        ("Apache-2.0 AND CNRI-Python", True),
        ("Apache Software License; MIT License", True),
        ("MIT AND GPL-3.0", False),
        ("GNU General Public License v3", False),
        ("AGPL-3.0", False),
        ("SSPL", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_licences(licence: str, allowed: bool) -> None:
    found = list(disallowed([{"Name": "a", "License": licence}]))
    assert (found == []) is allowed


def test_what_was_not_checked_is_no_pass() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    assert vulnerable(report) == (["b 2: CVE-1, fixed in 2.1"], 2, 1)
