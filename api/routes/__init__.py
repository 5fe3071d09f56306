"""The routes, one file a resource: parse, authorise, one call, respond."""

from fastapi import APIRouter

from api.routes import (
    actions,
    ai,
    approvals,
    bundles,
    connections,
    definitions,
    events,
    forms,
    health,
    hooks,
    leads,
    logs,
    metrics,
    migrations,
    operators,
    queues,
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
    webhook_deliveries,
)

api_router = APIRouter()
for _module in (
    definitions,
    versions,
    queues,
    bundles,
    migrations,
    runs,
    run_control,
    operators,
    approvals,
    signals,
    events,
    triggers,
    hooks,
    webhook_deliveries,
    schedules,
    retention,
    run_events,
    logs,
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
