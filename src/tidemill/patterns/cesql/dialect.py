"""CESQL as a dialect of rules: an event matches when the expression is true and no error arose. Pure.

A function that does not exist is an error of evaluation in the specification; a rule that calls one could never
match, so it is refused when it is compiled. `evaluate_sql` gives value and errors as the specification has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tidemill.events.event import JSON, Event
from tidemill.patterns.cesql.evaluate import compile_node, value_of
from tidemill.patterns.cesql.functions import FUNCTIONS, find_function
from tidemill.patterns.cesql.lower import lower
from tidemill.patterns.cesql.parse import parse
from tidemill.patterns.cesql.show import names_of, show
from tidemill.patterns.cesql.syntax import Call, Node, parts_of
from tidemill.patterns.cesql.tokens import ParseError
from tidemill.patterns.cesql.values import SqlError, Value
from tidemill.patterns.condition import quote
from tidemill.patterns.explanation import Explanation
from tidemill.patterns.expression import Check, Computed, Expression
from tidemill.patterns.rule import MAX_DEPTH, Problems, Rule, make_rule

__all__ = ["attributes_of", "compile_expression", "compile_sql", "evaluate_sql"]


def compile_sql(text: JSON, *, strict: bool = True) -> Rule:
    """The rule that a CESQL expression states. Raises `PatternError` with every problem.

    Without `strict`, calling a function that is not there is what the specification makes of it: an error of
    evaluation, so that no event matches.
    """
    problems = Problems()
    expression = compile_expression(text, "", problems=problems, strict=strict)
    problems.raise_any()
    assert expression is not None  # noqa: S101 - nothing was noted, so it was compiled
    return make_rule("cesql", text, expression)


def evaluate_sql(text: str, event: Event) -> tuple[Value, tuple[SqlError, ...]]:
    """The value of an expression and the errors of its evaluation; raises `ParseError`."""
    node, _ = parse(text, max_depth=MAX_DEPTH)
    value, errors = value_of(compile_node(node), event)
    return value, tuple(errors)


def attributes_of(text: str) -> frozenset[str]:
    """The attributes that an expression speaks of; raises `ParseError`."""
    node, _ = parse(text, max_depth=MAX_DEPTH)
    return frozenset(names_of(node))


def compile_expression(
    text: JSON, pointer: str, *, problems: Problems, strict: bool = True
) -> Expression | None:
    """What an expression states; None when it is wrong, with every problem noted."""
    if not isinstance(text, str) or not text.strip():
        problems.add(pointer, f"a CESQL expression is a non-empty string, not {quote(text)}")
        return None
    if not problems.has_length(text, pointer):
        return None
    try:
        node, leaves = parse(text, max_depth=MAX_DEPTH)
    except ParseError as error:
        problems.add(pointer, f"column {error.at + 1}: {error}")
        return None
    problems.count(leaves)
    unknown = list(_unknown_calls(node)) if strict else []
    for call in unknown:
        problems.add(pointer, f"column {call.span.start + 1}: {_no_function(call)}")
    return None if unknown else _computed(node, text)


def _computed(node: Node, text: str) -> Computed:
    """The whole expression; its tree is not kept where conditions say the same, and is read again to be shown."""

    def explain(event: Event) -> Explanation:
        shown, _ = parse(text, max_depth=MAX_DEPTH)
        return show(shown, text, event)

    conditions = lower(node, lambda part: Computed(_operand(part), explain))
    return Computed(_whole(node) if conditions is None else partial(_evaluated, text), explain, conditions)


def _whole(node: Node) -> Check:
    evaluate = compile_node(node)

    def check(event: Event) -> bool:
        value, errors = value_of(evaluate, event)
        return value is True and not errors

    return check


def _evaluated(text: str, event: Event) -> bool:
    value, errors = evaluate_sql(text, event)
    return value is True and not errors


def _operand(node: Node) -> Check:
    """An operand of AND, which is cast to Boolean."""
    evaluate = compile_node(node)

    def check(event: Event) -> bool:
        value, errors = value_of(evaluate, event)
        if isinstance(value, str):
            value = value.lower() == "true"
        return bool(value) and not errors

    return check


def _unknown_calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call) and find_function(node.name, len(node.arguments)) is None:
        yield node
    for part in parts_of(node):
        yield from _unknown_calls(part)


def _no_function(call: Call) -> str:
    count = len(call.arguments)
    if call.name in FUNCTIONS:
        return f"{call.name} does not take {count} argument{'' if count == 1 else 's'}"
    return f"there is no function {call.name}; there are {', '.join(FUNCTIONS)}"
