"""Time in generated definitions: hours, so that what takes a moment of real time never matters."""

HOUR = 3600.0


def seconds(text: str) -> float:
    """Read the durations of generated definitions: `7h` or `90m`."""
    number, unit = float(text[:-1]), text[-1]
    return number * {"h": HOUR, "m": 60.0}[unit]
