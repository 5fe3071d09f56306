"""The Dockerfile against our rules: pinned, without root, without secrets."""

import re
from collections.abc import Iterator

import pytest

from tests.integration.deploy.compose import ROOT, load
from tests.integration.deploy.hosts import SECRET
from tests.integration.deploy.test_compose import OURS, VALUES

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]*\d[A-Za-z0-9._-]*@sha256:[0-9a-f]{64}")
BAD = {
    "a tag alone": ("FROM python:3.11\nUSER 1:1\n", "not pinned"),
    "root": ("FROM {base}\nRUN true\n", "runs as root"),
    "back to root": ("FROM {base}\nUSER 1:1\nUSER root\n", "runs as root"),
    "a secret": ("FROM {base}\nARG API_KEY\nUSER 1:1\n", "a secret"),
    "a secret in ENV": ("FROM {base}\nENV A=1 SMTP_URL=x\nUSER 1:1\n", "a secret"),
    "ADD": ("FROM {base}\nADD https://example.com/x /x\nUSER 1:1\n", "ADD"),
    "a pipe": ("FROM {base}\nRUN curl example.com | sh\nUSER 1:1\n", "downloads"),
    "no hashes": ("FROM {base}\nRUN pip install uv==1\nUSER 1:1\n", "without hashes"),
    "no lock": ("FROM {base}\nRUN uv sync\nUSER 1:1\n", "not locked"),
    "a frontend": ("# syntax=docker/dockerfile:1\nFROM {base}\nUSER 1:1\n", "frontend"),
}


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile, with lines that go on put together."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def faults(text: str) -> Iterator[str]:
    """What a Dockerfile has that it should not have."""
    if re.match(r"#\s*syntax=", text):
        yield "a frontend that is fetched"
    stages: set[str] = set()
    user = ""
    for word, rest in instructions(text):
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            if image not in stages and not PINNED.fullmatch(image):
                yield f"{image} is not pinned"
            stages.add(stage)
            user = ""
        elif word == "USER":
            user = rest
        elif word == "ADD":
            yield "ADD fetches and unpacks; COPY does not"
        elif word in {"ENV", "ARG"}:
            names = re.findall(r"(?:^|\s)(\w+)(?==|\s|$)", rest)
            yield from (f"a secret: {name}" for name in names if SECRET.search(name))
        elif word == "RUN":
            yield from _of_command(rest)
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        yield "runs as root, or as a name that Kubernetes cannot judge"


def _of_command(command: str) -> Iterator[str]:
    if re.search(r"\b(curl|wget)\b", command):
        yield "downloads what no hash protects"
    if "pip install" in command and "--require-hashes" not in command:
        yield "installs without hashes"
    if "uv sync" in command and "--locked" not in command:
        yield "is not locked"


def test_the_image_follows_the_rules() -> None:
    assert list(faults(DOCKERFILE)) == []
    assert [word for word, _ in instructions(DOCKERFILE)].count("HEALTHCHECK") == 1


@pytest.mark.parametrize("name", sorted(BAD))
def test_the_rules_find_what_breaks_them(name: str) -> None:
    text, fault = BAD[name]
    base = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)[0]
    assert any(fault in found for found in faults(text.replace("{base}", base)))


def test_every_image_that_is_fetched_is_pinned_by_digest() -> None:
    for name, service in load(VALUES)["services"].items():
        if name not in OURS:
            assert PINNED.fullmatch(service["image"]), name


def test_uv_is_the_one_of_the_makefile_by_hash() -> None:
    [version] = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = (ROOT / "deploy/uv.txt").read_text()
    assert re.findall(r"^(\w+)==(\S+)", text, re.MULTILINE) == [("uv", version)]
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= 2


def test_the_image_has_the_user_that_everything_runs_as() -> None:
    [user] = [rest for word, rest in instructions(DOCKERFILE) if word == "USER"]
    for name in OURS:
        assert load(VALUES)["services"][name]["user"] == user
