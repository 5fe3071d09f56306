"""The OpenAPI document: tags, and the problem schema that every error answer refers to."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth import public_operations
from api.errors import ProblemDetail
from api.models.events import CloudEvent, PlainEvent
from api.models.mail_inboxes import InboundMessage

TAGS: list[dict[str, Any]] = [
    {"name": "definitions", "description": "Workflow definitions and their versions."},
    {"name": "bundles", "description": "Carrying definitions from one place to another."},
    {"name": "runs", "description": "Starting, watching and steering runs."},
    {"name": "events", "description": "What happens outside, and who is told of it."},
    {"name": "triggers", "description": "What starts runs by itself."},
    {"name": "webhooks", "description": "What outside systems deliver."},
    {"name": "forms", "description": "Forms and their public submissions."},
    {"name": "leads", "description": "People that runs are about, and what they did."},
    {"name": "templates", "description": "Stored emails."},
    {"name": "connections", "description": "Stored access to outside systems, and secrets."},
    {"name": "mail", "description": "What comes back of mails, and who gets none."},
    {"name": "ai", "description": "What AI steps cost, and what they may."},
    {"name": "audit", "description": "Who did what."},
    {"name": "dead letters", "description": "What failed for good, and trying it again."},
    {"name": "bulk", "description": "One action on many runs or dead letters."},
    {"name": "analytics", "description": "Figures of runs, steps, mails, splits and queues."},
    {"name": "language", "description": "What definitions may say."},
    {"name": "access", "description": "API keys, members and workspaces."},
    {"name": "retention", "description": "How long rows are kept."},
    {"name": "process", "description": "Health and metrics."},
]


def describe(app: FastAPI, *, server: str | None) -> None:
    """Give `app` an OpenAPI document with the problem schema; built once, on first use."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                openapi_version=app.openapi_version,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=[{"url": server}] if server else None,
                separate_input_output_schemas=app.separate_input_output_schemas,
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            problem = ProblemDetail.model_json_schema(
                ref_template="#/components/schemas/{model}", mode="serialization"
            )
            schemas |= problem.pop("$defs", {})
            schemas["ProblemDetail"] = problem
            for model in (PlainEvent, CloudEvent, InboundMessage):
                # Bodies that FastAPI cannot see.
                schemas[model.__name__] = model.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            _open_public_operations(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document


def _open_public_operations(schema: dict[str, Any]) -> None:
    """Say that public operations take no key: the dependency that checks it is on all of them."""
    names = public_operations()
    for methods in schema["paths"].values():
        for operation in methods.values():
            if operation["operationId"] in names:
                operation["security"] = []
