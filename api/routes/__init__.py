"""The routes, one file a resource: parse, authorise, one call, respond."""

from fastapi import APIRouter

from api.routes import (
    actions,
    ai,
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
    retention,
    run_control,
    run_events,
    runs,
    schedules,
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
    schedules,
    retention,
    run_events,
    forms,
    submissions,
    leads,
    templates,
    connections,
    secrets,
    suppressions,
    ai,
    schema,
    simulation,
    actions,
):
    api_router.include_router(_module.router)

process_router = APIRouter()
for _module in (health, metrics, unsubscribe):
    process_router.include_router(_module.router)
