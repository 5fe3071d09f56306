"""The HTTP API: parse, authorise, one call, respond."""
