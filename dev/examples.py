"""Putting the examples into a running Sojourn, over its API."""

from pathlib import Path
from typing import Any

import yaml
from httpx2 import AsyncClient, Response

from dev.errors import StackError

FOLDER = Path(__file__).resolve().parent.parent / "examples"


async def publish_examples(api: AsyncClient, folder: Path = FOLDER) -> list[str]:
    """Store templates, publish definitions that are new or changed, store forms.

    Gives the names of the definitions; raises StackError with the API's words.
    """
    for path in _files(folder / "templates"):
        name, body = _named(path)
        _accepted(path, await api.put(f"/api/v1/templates/{name}", json=body))
    names = [await _publish(api, path, _text(path)) for path in _files(folder)]
    for path in _files(folder / "forms"):
        name, body = _named(path)
        _accepted(path, await api.put(f"/api/v1/forms/{name}", json=body))
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


async def _publish(api: AsyncClient, path: Path, source: str) -> str:
    name = str(yaml.safe_load(source)["name"])
    where = f"/api/v1/definitions/{name}"
    found = await api.get(where)
    address = "/api/v1/definitions"
    if found.status_code == 200:
        active = found.json()["version"]
        if active is not None:
            stored = _accepted(path, await api.get(f"{where}/versions/{active}")).json()
            if stored["source"] == source:
                return name
        address = f"{where}/versions"
    _accepted(
        path,
        await api.post(
            address,
            params={"publish": "true"},
            content=source.encode(),
            headers={"Content-Type": "application/yaml"},
        ),
    )
    return name


def _named(path: Path) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = yaml.safe_load(_text(path))
    return str(body.pop("name", path.stem)), body


def _accepted(path: Path, response: Response) -> Response:
    if response.is_error:
        raise StackError(f"the example {path.name} is refused: {response.text}")
    return response
