"""For users: run a definition against fakes, with time skipped."""
