"""Mail addresses as people write them, parsed; every address is re-serialised from its parts."""

import re
from email.headerregistry import Address

from email_validator import EmailNotValidError, validate_email

# What would end a header, or hide in one.
BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_NAMED = re.compile(r"^\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]+)>\s*$")
_INTERNAL = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*(?:internal|invalid|local|localhost|onion|test)",
    re.IGNORECASE,
)


def parse_address(text: str) -> Address:
    """Read one `address` or `Name <address>`; raises ValueError without repeating the text."""
    if BREAKS.search(text):
        raise ValueError("an address must not hold line breaks or control characters")
    named = _NAMED.match(text)
    name = named["name"].strip().strip('"') if named else ""
    written = named["address"] if named else text.strip()
    local, _, domain = written.rpartition("@")
    # The validator refuses domains that only an internal server knows; ours may be one.
    internal = _INTERNAL.fullmatch(domain) is not None
    try:
        valid = validate_email(
            f"{local}@example.com" if internal else written,
            check_deliverability=False,
            globally_deliverable=False,
        )
    except EmailNotValidError as error:
        raise ValueError(f"not one mail address: {error}") from error
    address = valid.ascii_email or valid.normalized
    local, _, known = address.rpartition("@")
    domain = domain.lower() if internal else known
    return Address(display_name=name, username=local, domain=domain)
