"""Test files: what they are made of, what is refused in them, and what a report tells."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from activities.registry import load
from testing.junit import to_junit
from testing.loading import BadFile
from testing.report import Report
from testing.session import run_files

REGISTRY = load()
DEFINITION = """
name: filed
steps:
  - id: ask
    type: condition
    if: input.yes
    then: [{id: yes_mail, type: email, with: {to: a@example.com, template: hello}}]
"""


async def report_of(folder: Path, cases: str, **options: Any) -> Report:
    """Write a definition and a test file, and run it."""
    (folder / "filed.yaml").write_text(DEFINITION)
    (folder / "filed.test.yaml").write_text(cases)
    return await run_files([folder], REGISTRY, **options)


async def test_a_report_tells_failures_and_coverage(tmp_path: Path) -> None:
    cases = """
definition: filed.yaml
cases:
  - {name: works, input: {"yes": true}, expect: {mails: [{template: hello}]}}
  - {name: breaks, input: {"yes": true}, expect: {mails: []}}
  - {name: lacks, input: {"no": 1}}
"""
    report = await report_of(tmp_path, cases, cover=100)
    assert report.exit_code == 1
    (result,) = report.results
    assert [outcome.ok for outcome in result.outcomes] == [True, False, False]
    told = json.loads(json.dumps(report.to_json()))
    assert told["ok"] is False
    assert told["coverage"][0]["missed"] == ["ask: else"]
    assert told["coverage"][0]["percent"] == 50
    root = ElementTree.fromstring(to_junit(report))
    suites = {suite.get("name"): suite for suite in root}
    file = suites[str(tmp_path / "filed.test.yaml")]
    assert (file.get("tests"), file.get("failures"), file.get("errors")) == ("3", "2", "0")
    failure = file.find("testcase[@name='breaks']/failure")
    assert failure is not None
    assert failure.get("message") == "1 mails were sent, not 0: yes_mail to a@example.com"
    assert suites["coverage"].get("failures") == "1"
    fine = await run_files([tmp_path], REGISTRY, only="works")
    assert fine.exit_code == 0


async def test_templates_of_a_folder_are_rendered(tmp_path: Path) -> None:
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "hello.yaml").write_text("subject: Hi {{ lead.name }}\ntext: Good day\n")
    cases = """
definition: filed.yaml
templates: mails
cases:
  - name: works
    input: {"yes": true}
    lead: {email: a@example.com, name: Ada}
    expect: {mails: [{subject: Hi Ada, text: Good day}]}
"""
    report = await report_of(tmp_path, cases)
    assert report.exit_code == 0, report.to_json()
    (tmp_path / "mails" / "hello.yaml").unlink()
    report = await run_files([tmp_path], REGISTRY)
    assert report.exit_code == 1
    assert "the template 'hello' does not exist" in report.results[0].outcomes[0].failures[0]


@pytest.mark.parametrize(
    ("cases", "problem", "line"),
    [
        ("definition: filed.yaml\ncases: []\n", "cases: List should have at least 1 item", 2),
        ("definition: nowhere.yaml\ncases: [{name: a}]\n", "there is no file", 1),
        ("definition: filed.yaml\ncases:\n  - name: a\n    mock: {}\n", "'mock' is not known", 4),
        (
            "definition: filed.yaml\ncases:\n  - name: a\n    mocks:\n      yes_mial: {}\n",
            "no step 'yes_mial'",
            5,
        ),
        (
            "definition: filed.yaml\ncases:\n  - name: a\n    checks: {ask: true}\n",
            "no condition with a check 'ask'",
            4,
        ),
        ("definition: filed.yaml\ncases: [{name: a}, {name: a}]\n", "must differ: a", 2),
        (
            "definition: filed.yaml\ncases:\n  - name: a\n    signals: [{at: soon, name: go}]\n",
            "is not a duration",
            4,
        ),
        (
            "definition: filed.yaml\ncases:\n  - name: a\n    operators:\n"
            "      - {at: 1h, action: retry}\n",
            "'retry' needs 'step'",
            5,
        ),
    ],
)
async def test_a_bad_file_is_refused_with_its_place(
    tmp_path: Path, cases: str, problem: str, line: int
) -> None:
    report = await report_of(tmp_path, cases)
    assert report.exit_code == 2
    (bad,) = report.bad
    assert isinstance(bad, BadFile)
    text = f"{bad.message} {[each.message for each in bad.problems]}"
    assert problem in text, text
    position = bad.problems[0].position
    assert position is not None
    assert position.line == line
    assert "error" in to_junit(report)


async def test_a_bad_definition_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "filed.test.yaml").write_text("definition: filed.yaml\ncases: [{name: a}]\n")
    (tmp_path / "filed.yaml").write_text("name: filed\nsteps: [{id: a, type: emial}]\n")
    report = await run_files([tmp_path], REGISTRY)
    assert report.exit_code == 2
    assert report.bad[0].path == tmp_path / "filed.yaml"
    assert report.bad[0].problems[0].hint == "did you mean 'email'?"


async def test_without_the_server_a_hint_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from testing.server import NoServerError

    monkeypatch.setattr("testing.server.PROGRAM", "no-such-server")
    with pytest.raises(NoServerError) as caught:
        await report_of(tmp_path, "definition: filed.yaml\ncases: [{name: a}]\n")
    assert caught.value.hint == "pip install 'sojourn[testing]'"
