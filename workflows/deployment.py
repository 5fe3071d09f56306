"""Worker Deployment Versioning: which build of the workers gets the runs.

Source: Temporal's Worker Versioning. A run without a pin moves to the current build at its next
workflow task; a build that has never been current gets nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from temporalio.api.enums.v1 import VersionDrainageStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from schemas.errors import ConflictError, NotFoundError

_DRAINED = VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINED


@dataclass(frozen=True)
class Deployment:
    """The name and build under which a worker polls.

    With `pinned` a run stays with the build it began with, whose workers must stay until it ends;
    else it moves on, which recorded histories show to be safe.
    """

    name: str
    build: str
    pinned: bool = False

    @property
    def options(self) -> WorkerDeploymentConfig:
        """As the worker takes it."""
        return WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(self.name, self.build),
            use_worker_versioning=True,
            default_versioning_behavior=(
                VersioningBehavior.PINNED if self.pinned else VersioningBehavior.AUTO_UPGRADE
            ),
        )


@dataclass(frozen=True)
class Build:
    """One build that Temporal knows of; `drained` when it is not current and no run needs it."""

    build: str
    current: bool
    created_at: datetime
    drained: bool


async def builds(client: Client, name: str) -> list[Build]:
    """List the builds of a deployment, newest first; raises NotFoundError for an unknown name."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=name)
    try:
        answer = await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise _unknown(name) from None
        raise
    info = answer.worker_deployment_info
    current = info.routing_config.current_deployment_version.build_id
    found = [
        Build(
            build=summary.deployment_version.build_id,
            current=summary.deployment_version.build_id == current,
            created_at=summary.create_time.ToDatetime(),
            drained=summary.drainage_status == _DRAINED,
        )
        for summary in info.version_summaries
    ]
    return sorted(found, key=lambda build: build.created_at, reverse=True)


async def make_current(client: Client, name: str, build: str) -> None:
    """Give all runs that are not pinned, and new ones, to a build.

    Raises NotFoundError for a deployment or build without a worker so far, ConflictError where
    Temporal refuses: a queue of the former build that no worker of this one polls.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=name, build_id=build, identity="sojourn"
    )
    try:
        await client.workflow_service.set_worker_deployment_current_version(request)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise _unknown(f"{name}.{build}") from None
        if error.status == RPCStatusCode.FAILED_PRECONDITION:
            raise ConflictError(
                f"Temporal does not make {build!r} current: {error.message}",
                hint="start its workers first",
            ) from None
        raise


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"Temporal knows no worker of {name!r}",
        hint="start workers with SOJOURN_DEPLOYMENT_NAME and SOJOURN_DEPLOYMENT_BUILD first",
    )
