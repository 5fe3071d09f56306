"""What is wrong with the single things of a bundle."""

from typing import Any

from activities.liquid import check_template
from api.form_rules import check_fields
from api.publishing import Reading, read_definition
from schemas.actions import Catalogue
from schemas.bundle import BundledForm, BundledTemplate, trigger_data
from schemas.definition import Definition
from schemas.errors import InputError, Problem, SojournError
from schemas.rules import Rule, refused
from schemas.triggers import TriggerInput


def below(problem: Problem, path: str) -> Problem:
    """Give a problem of one thing as a problem of the bundle that holds it at `path`."""
    inner = problem.path
    joined = f"{path}.{inner}" if inner and not inner.startswith("[") else path + inner
    return problem.model_copy(update={"path": joined})


def read(source: str, name: str, catalogue: Catalogue) -> tuple[Definition | None, list[Problem]]:
    """Read a definition that must have this name; positions are those in its own text."""
    try:
        reading: Reading = read_definition(source, catalogue, name=name)
    except SojournError as error:
        return None, error.problems or [refused(Rule.BAD_DOCUMENT, "", error.message)]
    return reading.definition, list(reading.warnings)


def template_faults(one: BundledTemplate) -> list[Problem]:
    """Give what is wrong with a template's Liquid."""
    return [
        *check_template(one.subject, path="subject"),
        *check_template(one.text, path="text"),
        *(check_template(one.html, html=True, path="html") if one.html else []),
    ]


def form_faults(one: BundledForm) -> list[Problem]:
    """Give what is wrong with a form's fields."""
    try:
        check_fields(one.fields)
    except InputError as error:
        return list(error.problems)
    return []


def no_definition(path: str, name: str) -> Problem:
    """Give the problem of something whose definition is nowhere."""
    message = f"there is no definition named {name!r}, neither stored nor in the bundle"
    return refused(Rule.BAD_VALUE, path, message)


def twice(path: str, name: str) -> Problem:
    """Give the problem of a name that stands twice."""
    return refused(Rule.DUPLICATE_ID, path, f"{name!r} stands twice")


def without_switch(trigger: TriggerInput) -> dict[str, Any]:
    """Give what a trigger says but whether it is enabled: what makes it the same trigger."""
    said = trigger_data(trigger)
    del said["enabled"]
    return said
