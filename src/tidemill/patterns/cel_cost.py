"""What evaluating a CEL expression can cost at most, estimated before it is evaluated. Pure; nothing is evaluated here.

The library has no budget of its own, and joining (`+`, lists of several elements, `map`) makes large values of small
ones. The estimate errs on the side of too much: an expression that joins nothing and has no macros is never refused,
any other one only with large events.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tidemill.events.event import JSON

__all__ = ["MAX_WORK", "Cost", "cost_of"]

#: Most that one evaluation may do, in bytes copied or compared: about half a second.
MAX_WORK = 1 << 29
# What things cost beside bytes, as measured: a round of a macro; `map` and `filter` copy for each element those before
# it, with all that is in them; a regular expression is compiled each time, which is dear where it repeats classes of
# Unicode.
_ROUND = 4096
_KEPT_ELEMENT = 200
_VALUE = 80
#: Characters that are copied in the time of one byte here.
_CHARACTERS = 8
_LISTED = 16
_REGEX, _LARGER_REGEX, _LARGEST_REGEX = 100_000, 1_000_000, 32_000_000

#: Macros that make a list.
_BUILDERS = frozenset({"map", "filter"})
#: Functions that go through a text.
_READERS = frozenset(
    {"contains", "startsWith", "endsWith", "matches", "size", "int", "double", "string", "bytes"}
)
_TOKEN = re.compile(
    r"""(?P<raw>[bB]?[rR](?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*"))
    |(?P<string>[bB]?(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<comment>//[^\n]*)
    |(?P<word>\.?\s*[A-Za-z_][A-Za-z0-9_]*\s*\(?)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)

_LITERAL_END = re.compile(r".*['\"0-9]\Z", re.DOTALL)
_UNICODE_CLASS = re.compile(r"\\[pPwWDS]|\(\?[a-z]*i")
_REPETITION = re.compile(r"\{\d")


@dataclass(frozen=True, slots=True)
class Cost:
    """What of an expression's text decides how much it can cost."""

    #: How deep macros stand in each other, and brackets.
    nesting: int = 0
    depth: int = 0
    commas: int = 0
    #: Commas behind what is no literal.
    listed: int = 0
    pluses: int = 0
    macros: int = 0
    #: Macros that make lists.
    builders: int = 0
    #: Whether elements of a list that is made may be whole variables.
    spreads: bool = False
    #: Comparisons and functions that go through texts.
    readers: int = 0
    #: What compiling every regular expression once costs.
    regexes: int = 0
    #: Characters of the expression.
    length: int = 0

    def exceeds(self, variables: Mapping[str, JSON]) -> bool:
        """Whether evaluating it with these variables could take more than `MAX_WORK`."""
        if not self.macros and not self.pluses and not self.listed:
            return False
        sizes = _Sizes()
        whole = sum(map(sizes.measure, variables.values()))
        element = whole if self.spreads else sizes.element
        try:
            return self._work(max(sizes.text, self.length), max(sizes.elements, 1), element) > MAX_WORK
        except OverflowError:
            return True

    def _work(self, text: int, elements: int, element: float) -> float:
        if not self.macros:
            return (text + _LISTED * elements) * (float(1 + self.pluses) ** 2 + self.listed)
        joins = self.pluses + max(0, self.commas - self.macros)
        # By how much values can grow when each macro joins its share of the joins to what the one before it made.
        grown = (1 + joins / self.macros) ** self.macros
        size = elements * grown
        each = (
            self.macros * _ROUND
            + self.builders * size * (_KEPT_ELEMENT + element * grown)
            + self.regexes
            + (self.readers + self.pluses) * text * grown
        )
        return float(size**self.nesting * each)


def cost_of(text: str, macros: Collection[str], variables: Collection[str]) -> Cost:
    """The cost of a valid expression in which these names are macros, and these variables."""
    open_macros: list[bool] = []
    #: Whether what stands in each open bracket may become an element of a list.
    makes: list[bool] = []
    #: Variables of macros.
    bound: set[str] = set()
    spreads = False
    nesting = depth = commas = listed = pluses = found_macros = builders = readers = regexes = 0
    before = ""
    for found in _TOKEN.finditer(text):
        written = found[0]
        if found.lastgroup == "word":
            if written.endswith("("):
                name = written[:-1].strip().removeprefix(".").strip()
                is_macro = written.startswith(".") and name in macros
                open_macros.append(is_macro)
                makes.append(is_macro and name == "map")
                found_macros += is_macro
                builders += is_macro and name in _BUILDERS
                readers += (name in _READERS) + (name == "contains")
            readers += written.strip() == "in"
            if before.endswith("(") and open_macros and open_macros[-1]:
                bound.add(written.strip())
            spreads = spreads or (
                any(makes) and written.strip() in variables and written.strip() not in bound
            )
        elif found.lastgroup == "other":
            if written in "([{":
                open_macros.append(False)
                makes.append(written != "(")
            elif written in ")]}" and open_macros:
                open_macros.pop()
                makes.pop()
            commas += written == ","
            listed += written == "," and not _LITERAL_END.match(before)
            pluses += written == "+"
            readers += written in "<>" or (written == "=" and before in ("=", "!"))
        if written.isspace():
            continue
        if before.endswith("(") and before[:-1].strip(" .\t\r\n") == "matches":
            regexes += _regex_cost(written) if found.lastgroup in ("string", "raw") else _LARGEST_REGEX
        before = written
        nesting, depth = max(nesting, sum(open_macros)), max(depth, len(open_macros))
    return Cost(
        nesting=nesting,
        depth=depth,
        commas=commas,
        listed=listed,
        pluses=pluses,
        macros=found_macros,
        builders=builders,
        spreads=spreads,
        readers=readers,
        regexes=regexes,
        length=len(text),
    )


def _regex_cost(literal: str) -> int:
    reasons = bool(_UNICODE_CLASS.search(literal)) + bool(_REPETITION.search(literal))
    return (_REGEX, _LARGER_REGEX, _LARGEST_REGEX)[reasons]


@dataclass(slots=True)
class _Sizes:
    """What of the variables is largest."""

    #: Characters of the longest text.
    text: int = 0
    #: Elements of the longest list or object.
    elements: int = 0
    #: What copying the largest element of a list costs.
    element: float = 0

    def measure(self, value: JSON) -> float:
        """What copying `value` costs; notes what is in it. JSON is nested `limits.MAX_DEPTH` deep at most."""
        if type(value) is str:
            self.text = max(self.text, len(value))
            return _VALUE + len(value) / _CHARACTERS
        if type(value) is dict:
            self.elements = max(self.elements, len(value))
            return _VALUE + sum(map(self.measure, value.values()))
        if type(value) is list:
            self.elements = max(self.elements, len(value))
            costs = [self.measure(one) for one in value]
            self.element = max(self.element, *costs, 0)
            return _VALUE + sum(costs)
        return _VALUE
