"""The report as JUnit XML, which every CI reads: one suite a test file."""

import xml.etree.ElementTree as ET  # only written, never parsed

from testing.outcome import Outcome
from testing.report import Report, SuiteResult


def to_junit(report: Report) -> str:
    """Give the report as an XML document; a bad file is a suite with one error."""
    root = ET.Element("testsuites", name="sojourn", time=f"{report.seconds:.3f}")
    for result in report.results:
        _suite(root, result)
    for bad in report.bad:
        suite = ET.SubElement(root, "testsuite", name=str(bad.path), tests="1", errors="1")
        case = ET.SubElement(suite, "testcase", name="file", classname=str(bad.path))
        lines = [f"{problem.path}: {problem.message}" for problem in bad.problems]
        ET.SubElement(case, "error", message=bad.message).text = "\n".join(lines)
    _coverage(root, report)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, result: SuiteResult) -> None:
    broken = [outcome for outcome in result.outcomes if outcome.problems]
    failed = [outcome for outcome in result.outcomes if outcome.failures and not outcome.problems]
    suite = ET.SubElement(
        root,
        "testsuite",
        name=str(result.suite.path),
        tests=str(len(result.outcomes)),
        failures=str(len(failed)),
        errors=str(len(broken)),
        time=f"{sum(outcome.real for outcome in result.outcomes):.3f}",
    )
    for outcome in result.outcomes:
        _case(suite, result.suite.definition.name, outcome)


def _case(suite: ET.Element, definition: str, outcome: Outcome) -> None:
    case = ET.SubElement(
        suite, "testcase", name=outcome.name, classname=definition, time=f"{outcome.real:.3f}"
    )
    if outcome.problems:
        text = "\n".join([*outcome.problems, *outcome.failures])
        ET.SubElement(case, "error", message=_plain(outcome.problems[0])).text = _plain(text)
    elif outcome.failures:
        text = "\n".join(outcome.failures)
        ET.SubElement(case, "failure", message=_plain(outcome.failures[0])).text = _plain(text)
    if outcome.warnings:
        ET.SubElement(case, "system-err").text = _plain("\n".join(outcome.warnings))


def _coverage(root: ET.Element, report: Report) -> None:
    """Add a suite of its own for the coverage, where some is required."""
    if not report.cover:
        return
    found = report.coverage()
    short = {path: each for path, each in found.items() if each.percent < report.cover}
    suite = ET.SubElement(
        root, "testsuite", name="coverage", tests=str(len(found)), failures=str(len(short))
    )
    for path, each in found.items():
        case = ET.SubElement(suite, "testcase", name=str(path), classname="coverage")
        if path in short:
            message = f"{each.percent:.1f} % of the edges, {report.cover:g} % are required"
            text = "\n".join(str(edge) for edge in each.missed)
            ET.SubElement(case, "failure", message=message).text = text


def _plain(text: str) -> str:
    """Drop the control characters that XML 1.0 cannot hold."""
    return "".join(char for char in text if char >= " " or char in "\t\n\r")
