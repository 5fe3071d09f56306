"""The embedded stack of `sojourn dev` and of the tests: real servers, no installation."""
