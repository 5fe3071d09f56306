"""Write the table of operations and roles into docs/identity.md, for people to review.

`python -m dev.permissions` rewrites what stands between the markers. The tests compare what the
API does with that table, so that a role changed by mistake shows itself as a difference to it.
"""

import sys
from pathlib import Path
from typing import Any, cast

from activities.registry import load
from api.app import create_app
from api.auth import public_operations
from api.config import ApiConfig
from api.permissions import ELSEWHERE, HOME_ONLY, INSTALLATION_ONLY, PERMISSIONS
from db.engine import Database
from workflows.gateway import Gateway

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "identity.md"
BEGIN, END = "<!-- operations -->\n", "<!-- end of operations -->\n"


def role_shown(operation: str) -> str:
    """Give what the table says of an operation's role."""
    if operation in public_operations():
        return "public"
    if operation in INSTALLATION_ONLY:
        return "installation"
    role = PERMISSIONS[operation].value
    if operation in ELSEWHERE:
        return f"{role}, {ELSEWHERE[operation].value} in other workspaces"
    return f"{role}, installation's own workspace" if operation in HOME_ONLY else role


def table(document: dict[str, Any]) -> str:
    """Render the operations of an OpenAPI document, by scope and path."""
    rows: list[tuple[str, str, str, str]] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = operation["tags"][0].replace(" ", "-")
            verb = "read" if method in ("get", "head") else "write"
            rows.append((f"{tag}:{verb}", f"{method.upper()} {path}", operation["operationId"], ""))
    lines = ["| operation | request | role | scope |", "|---|---|---|---|"]
    for scope, request, operation, _ in sorted(rows, key=lambda row: (row[0].split(":"), row[1])):
        role = role_shown(operation)
        lines.append(
            f"| `{operation}` | `{request}` | {role} | {'' if role == 'public' else scope} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the table; nothing is connected for it."""
    app = create_app(
        database=Database("postgresql://nobody@127.0.0.1:1/none"),
        gateway=cast(Gateway, None),
        catalogue=load(),
        config=ApiConfig(api_key="none of importance"),
    )
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(before + BEGIN + table(app.openapi()) + END + after)
    sys.stdout.write(f"{DOCUMENT} has {len(app.openapi()['paths'])} paths\n")


if __name__ == "__main__":
    main()
