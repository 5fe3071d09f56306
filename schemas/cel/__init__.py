"""Sojourn's engine for CEL, the Common Expression Language: deterministic and with budgets."""

from schemas.cel.budget import BudgetExceeded
from schemas.cel.checker import CheckProblem, check
from schemas.cel.functions import FUNCTIONS, MACROS
from schemas.cel.program import Program, compile
from schemas.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    object_type,
    type_from_json_schema,
)
from schemas.cel.values import TypeValue, Uint

__all__ = [
    "BOOL",
    "BYTES",
    "DOUBLE",
    "DURATION",
    "DYN",
    "FUNCTIONS",
    "INT",
    "MACROS",
    "NULL",
    "STRING",
    "TIMESTAMP",
    "UINT",
    "BudgetExceeded",
    "CheckProblem",
    "Program",
    "Type",
    "TypeValue",
    "Uint",
    "check",
    "compile",
    "list_of",
    "map_of",
    "object_type",
    "type_from_json_schema",
]
