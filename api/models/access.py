"""API keys, members and workspaces, as the API takes and shows them."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, Field

from api.models.common import Closed
from api.permissions import RESOURCES
from schemas.definition import DefinitionName
from schemas.durations import parse_duration
from schemas.roles import Role

MAX_OVERLAP = timedelta(days=90)
WORKSPACE_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
WorkspacePath = Annotated[str, Path(pattern=WORKSPACE_NAME, description="the workspace's name")]
WorkspaceName = Annotated[str, Field(pattern=WORKSPACE_NAME)]
KeyPath = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{12}$", description="the key's id")]
SUBJECT = r"^[\x21-\x7e]{1,255}$"
MemberPath = Annotated[
    str, Path(pattern=SUBJECT, description="the user's `sub` in the issuer's tokens")
]
Title = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


def _known(scope: str) -> str:
    if scope.partition(":")[0] not in RESOURCES:
        raise ValueError(f"scopes are of one of {', '.join(sorted(RESOURCES))}")
    return scope


Scope = Annotated[str, Field(pattern=r"^[a-z-]+:(read|write)$"), AfterValidator(_known)]
Grants = Annotated[
    dict[DefinitionName, Role],
    Field(max_length=100, description="greater roles on single definitions, by name"),
]


class ApiKeyInput(Closed):
    """A key to be made; it can do no more than who makes it."""

    name: Title = Field(examples=["the booking site"])
    role: Role = Field(default=Role.OPERATOR, description="what it may do in the workspace")
    scopes: list[Scope] = Field(
        default_factory=list,
        max_length=50,
        description="narrow the role to these; none: everything that the role allows",
        examples=[["runs:write", "definitions:read"]],
    )
    grants: Grants = Field(default_factory=dict)
    expires_at: datetime | None = Field(default=None, description="never, if not given")
    workspace: WorkspaceName | None = Field(
        default=None, description="for the operator of the installation: another one's key"
    )


class ApiKeyView(BaseModel):
    """A key as it is shown: what of it is not secret."""

    id: str
    workspace: str
    name: str
    prefix: str = Field(examples=["wf_live_7Qx0aZr9LmB2"])
    last4: str
    role: Role
    scopes: list[str]
    grants: dict[str, Role]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to about a minute")
    rotated_to: str | None = Field(description="the key that takes over")


class NewApiKey(ApiKeyView):
    """A key that was just made: the only answer that holds it."""

    key: str = Field(description="shown this once")


class ApiKeyList(BaseModel):
    """The keys of a workspace, the latest first."""

    items: list[ApiKeyView]


def _overlap(text: str) -> str:
    if parse_duration(text) > MAX_OVERLAP:
        raise ValueError("an overlap is at most 90d")
    return text


class RotateInput(Closed):
    """How long the old key lives on beside the new one."""

    overlap: Annotated[str, AfterValidator(_overlap)] = Field(
        default="24h", max_length=20, description="a duration, at most 90d", examples=["24h", "0s"]
    )


class MemberInput(Closed):
    """What a user may do in the workspace."""

    role: Role = Role.VIEWER
    grants: Grants = Field(default_factory=dict)


class MemberView(BaseModel):
    """A member of the workspace."""

    subject: str
    role: Role
    grants: dict[str, Role]
    created_by: str
    created_at: datetime


class MemberList(BaseModel):
    """The members of the workspace, by subject."""

    items: list[MemberView]


class WorkspaceInput(Closed):
    """A workspace to be made."""

    name: WorkspaceName
    title: Title | None = None


class WorkspacePatch(Closed):
    """What of a workspace can be changed."""

    title: Title | None


class WorkspaceView(BaseModel):
    """A workspace."""

    name: str
    title: str | None
    created_at: datetime


class WorkspaceList(BaseModel):
    """All workspaces that were made, by name; the installation's own is not among them."""

    items: list[WorkspaceView]


class Caller(BaseModel):
    """Who calls, as the API understands the credential."""

    workspace: str
    actor: str = Field(examples=["key:7Qx0aZr9LmB2"])
    role: Role
    scopes: list[str]
    grants: dict[str, Role]
    installation: bool = Field(description="whether it operates the installation")
