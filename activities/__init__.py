"""Actions: one file per outside system, found by `activities.registry.load`."""
