"""Who calls: made from the credential alone, never from anything else in a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.errors import ErrorCode, SojournError
from schemas.roles import Role

BOOTSTRAP = "key:bootstrap"
# Who acts where no caller does: loops, and what is public.
SYSTEM = "system"


class UnauthorizedError(SojournError):
    """No credential came, or not a good one."""

    code = ErrorCode.UNAUTHORIZED


class ForbiddenError(SojournError):
    """The caller is known, and may not do this."""

    code = ErrorCode.FORBIDDEN


@dataclass(frozen=True)
class Identity:
    """A caller: `actor` is `key:<id>` or `user:<sub>`, in one workspace.

    `scopes` narrow what the role allows, empty for no narrowing; `grants` are greater roles on
    single definitions, by name. `installation` is its operator, who looks after workspaces.
    """

    workspace: str
    actor: str
    role: Role
    scopes: frozenset[str] = frozenset()
    grants: Mapping[str, Role] = field(default_factory=lambda: MappingProxyType({}))
    installation: bool = False

    def role_for(self, definition: str | None) -> Role:
        """The role that counts for a definition: the workspace's, or a greater one granted."""
        granted = self.grants.get(definition) if definition is not None else None
        return granted if granted is not None and granted.at_least(self.role) else self.role
