"""What stored values are sealed for: each belongs to its own row."""


def bound_to(workspace: str, table: str, name: str) -> bytes:
    """Give the associated data of a row: a sealed value opens nowhere but in its own."""
    return f"{workspace}|{table}|{name}".encode()
