"""One client: whatever leaves for the network goes through the guard, or is named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Modules that open connections of their own, and what in `httpx2`, `asyncio`, ... does.
MODULES = (
    "aiohttp", "ftplib", "http.client", "httpcore", "httpx", "pycurl", "requests", "smtplib",
    "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc.client", "aiosmtplib",
    "imaplib", "poplib", "httpcore2",
)  # fmt: skip
CALLS = {
    "httpx2": (
        "AsyncClient", "Client", "get", "post", "put", "patch", "delete", "head", "options",
        "request", "stream", "AsyncHTTPTransport", "HTTPTransport",
    ),
    "asyncio": ("open_connection", "open_unix_connection"),
    "socket": ("create_connection", "socket"),
}  # fmt: skip
METHODS = (
    "create_connection",
    "create_datagram_endpoint",
    "create_unix_connection",
    "sock_connect",
)
PACKAGES = ("activities", "api", "db", "schemas", "web", "workflows", "testing")

# The guard itself, then mail's own protocols, which pass through activities/_mail_target.py.
ALLOWED = {
    "activities/_client.py": {"httpcore2", "httpx2.AsyncClient", "httpx2.Client"},
    "activities/_pool.py": {"httpcore2"},
    "activities/_ssrf.py": {"httpcore2"},
    "activities/_streams.py": {"httpcore2", ".create_connection"},
    "activities/_mail_target.py": {"socket.socket", ".sock_connect"},
    "activities/_smtp.py": {"aiosmtplib"},
    "activities/_imap.py": {"imaplib"},
    "activities/probing.py": {"aiosmtplib", "imaplib"},
}
# Programs beside the service: they speak to its own API, health page and children alone.
BESIDE = {
    "remote.py": {"httpx2.request", "httpx2.stream"},
    "telemetry.py": {"http.client", "socket.socket"},
    "testing/crashing.py": {"asyncio.open_unix_connection"},
}


def openers(tree: ast.AST) -> Iterator[str]:
    """Give what a module uses to open connections, by its full name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _module(one.name)
                names[one.asname or one.name.partition(".")[0]] = one.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _module(node.module)
            for one in node.names:
                yield from _module(f"{node.module}.{one.name}")
                names[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _used(node.func, names)
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                yield from _used(base, names)


def _module(name: str) -> Iterator[str]:
    if any(name == one or name.startswith(f"{one}.") for one in MODULES):
        yield next(one for one in MODULES if name == one or name.startswith(f"{one}."))


def _used(node: ast.expr, names: dict[str, str]) -> Iterator[str]:
    """Give the name of an opener that is called, or that a class is made of."""
    if isinstance(node, ast.Name):
        module, _, name = names.get(node.id, "").rpartition(".")
    elif isinstance(node, ast.Attribute):
        name = node.attr
        module = names.get(node.value.id, "") if isinstance(node.value, ast.Name) else ""
        if name in METHODS and module not in CALLS:
            yield f".{name}"
    else:
        return
    if name in CALLS.get(module, ()):
        yield f"{module}.{name}"


def used_in(path: Path) -> set[str]:
    return set(openers(ast.parse(path.read_text())))


def test_nothing_else_opens_connections(repository: Path) -> None:
    found = {
        str(path.relative_to(repository)): used
        for package in PACKAGES
        for path in (repository / package).rglob("*.py")
        if (used := used_in(path))
    }
    found |= {
        path.name: used for path in sorted(repository.glob("*.py")) if (used := used_in(path))
    }
    assert found == ALLOWED | BESIDE


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import httpx2\nhttpx2.AsyncClient()", "httpx2.AsyncClient"),
        ("import httpx2 as web\nweb.get('http://x')", "httpx2.get"),
        ("from httpx2 import AsyncClient as Web\nclass Mine(Web): ...", "httpx2.AsyncClient"),
        ("from httpx2 import stream\nstream('GET', 'x')", "httpx2.stream"),
        ("def f():\n    import requests", "requests"),
        ("from urllib.request import urlopen", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("import urllib.request as r", "urllib.request"),
        ("from http import client", "http.client"),
        ("import aiohttp.client", "aiohttp"),
        ("import httpx", "httpx"),
        ("import socket\nsocket.create_connection(('x', 1))", "socket.create_connection"),
        ("from socket import socket as S\nS()", "socket.socket"),
        ("import asyncio\nasyncio.open_connection('x', 1)", "asyncio.open_connection"),
        ("async def f(loop):\n    await loop.create_connection(P, 'x', 1)", ".create_connection"),
        ("import smtplib", "smtplib"),
    ],
)
def test_the_lint_finds(code: str, told: str) -> None:
    assert told in set(openers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import httpx2\ndef f(client: httpx2.AsyncClient) -> httpx2.URL: ...",
        "from httpx2 import HTTPError\nimport socket\nsocket.gethostname()",
        "from urllib.parse import urlsplit",
        "async def f(client, request):\n    await client.get('x'); client.request(request)",
    ],
)
def test_the_lint_leaves(code: str) -> None:
    assert set(openers(ast.parse(code))) == set()
