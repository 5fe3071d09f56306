"""One file for each control step of the language, and one for all actions."""
