"""What the files of the hosts say: variables they set, manifests, units."""

import configparser
import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import AliasChoices

from settings import Settings
from tests.integration.deploy.compose import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"
SYSTEMD = ROOT / "deploy/systemd"
# What names a variable whose value nobody may read; public keys and file names are none.
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|API_KEY|_KEYS|_KEY$|DATABASE_URL|SMTP_URL)")


def settings_names() -> set[str]:
    """Every variable that the settings read."""
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            names |= {str(choice) for choice in field.validation_alias.choices}
        else:
            names.add(f"SOJOURN_{name.upper()}")
    return names


def kustomization(folder: str = "kubernetes") -> dict[str, Any]:
    """The content of a `kustomization.yaml` under deploy/."""
    return yaml.safe_load((ROOT / "deploy" / folder / "kustomization.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    """Every object that `kubectl apply --kustomize deploy/kubernetes` makes."""
    return [
        document
        for name in kustomization()["resources"]
        for document in yaml.safe_load_all((KUBERNETES / name).read_text())
    ]


def named(kind: str, name: str) -> dict[str, Any]:
    """One object."""
    [found] = [
        one for one in manifests() if one["kind"] == kind and one["metadata"]["name"] == name
    ]
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates by the names of their objects."""
    for one in manifests():
        if one["kind"] in {"Deployment", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]


class _Unit(dict[str, Any]):
    """Keeps every value of a key that stands more than once, as systemd does."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """The sections of a unit: of every key all of its values in order."""
    parser = configparser.RawConfigParser(dict_type=_Unit, strict=False, interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read_string((SYSTEMD / name).read_text())
    return {
        section: {key: value.split("\n") for key, value in parser[section].items()}
        for section in parser.sections()
    }
