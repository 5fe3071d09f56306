"""What several test suites share: probe actions, scenarios, running a definition."""
