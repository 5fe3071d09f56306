"""Sojourn measured beside a hand-written Temporal workflow, on the same servers in the same run."""
