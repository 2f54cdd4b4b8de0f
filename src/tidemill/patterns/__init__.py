"""Which events match: dialects compiled into one form, and an index over many rules. Pure.

Nothing here reads a clock, performs I/O or logs. Matching never raises; only compiling refuses.
"""

from tidemill.patterns.cel import compile_cel
from tidemill.patterns.cesql import ParseError, SqlError, compile_sql, evaluate_sql
from tidemill.patterns.evaluate import match_line
from tidemill.patterns.explain import explain
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.index import Index
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule, combine

__all__ = [
    "Explanation",
    "Index",
    "ParseError",
    "PatternError",
    "Rule",
    "SqlError",
    "combine",
    "compile_cel",
    "compile_filters",
    "compile_pattern",
    "compile_sql",
    "evaluate_sql",
    "explain",
    "match_line",
]
