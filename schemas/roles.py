"""Roles: what somebody may do in a workspace, each more than the one before."""

from enum import StrEnum


class Role(StrEnum):
    """A role; `viewer` reads, `operator` steers runs, `editor` changes definitions, `admin` all."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    EDITOR = "editor"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The role's place, 0 for the least."""
        return list(Role).index(self)

    def at_least(self, other: "Role") -> bool:
        """Whether this role may do what `other` may."""
        return self.rank >= other.rank
