"""The routes, one file a resource: parse, authorise, one call, respond."""

from fastapi import APIRouter

from api.routes import (
    actions,
    approvals,
    connections,
    definitions,
    events,
    forms,
    health,
    leads,
    metrics,
    migrations,
    operators,
    run_control,
    run_events,
    runs,
    schema,
    secrets,
    signals,
    simulation,
    submissions,
    suppressions,
    templates,
    triggers,
    unsubscribe,
    versions,
)

api_router = APIRouter()
for _module in (
    definitions,
    versions,
    migrations,
    runs,
    run_control,
    operators,
    approvals,
    signals,
    events,
    triggers,
    run_events,
    forms,
    submissions,
    leads,
    templates,
    connections,
    secrets,
    suppressions,
    schema,
    simulation,
    actions,
):
    api_router.include_router(_module.router)

process_router = APIRouter()
for _module in (health, metrics, unsubscribe):
    process_router.include_router(_module.router)
