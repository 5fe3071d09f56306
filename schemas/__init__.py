"""The language: definitions, steps, expressions, runs and errors. Pydantic only, no I/O."""
