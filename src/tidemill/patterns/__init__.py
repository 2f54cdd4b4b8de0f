"""Which events match: two dialects compiled into one form, and an index over many rules. Pure.

Nothing here reads a clock, performs I/O or logs. Matching never raises; only compiling refuses.
"""

from tidemill.patterns.evaluate import match_line
from tidemill.patterns.explain import Finding, explain
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.index import Index
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule, combine

__all__ = [
    "Finding",
    "Index",
    "PatternError",
    "Rule",
    "combine",
    "compile_filters",
    "compile_pattern",
    "explain",
    "match_line",
]
