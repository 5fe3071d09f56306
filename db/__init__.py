"""Tables and queries, one file per aggregate; nothing here knows Temporal or HTTP."""
