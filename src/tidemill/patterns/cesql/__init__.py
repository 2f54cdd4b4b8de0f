"""CESQL: the CloudEvents SQL expression language, version 1. Pure; it evaluates, it never raises."""

from tidemill.patterns.cesql.dialect import attributes_of, compile_expression, compile_sql, evaluate_sql
from tidemill.patterns.cesql.tokens import ParseError
from tidemill.patterns.cesql.values import ErrorKind, SqlError

__all__ = [
    "ErrorKind",
    "ParseError",
    "SqlError",
    "attributes_of",
    "compile_expression",
    "compile_sql",
    "evaluate_sql",
]
