"""The interpreter: one generic Temporal workflow that runs every definition."""
