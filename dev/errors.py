"""What stops the embedded stack from starting, said in words a user can act on."""


class StackError(Exception):
    """The stack cannot start; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Build an error with an optional hint."""
        super().__init__(message)
        self.message = message
        self.hint = hint
