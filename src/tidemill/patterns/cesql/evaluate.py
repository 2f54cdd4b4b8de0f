"""A CESQL tree compiled to closures that give a value and gather errors (section 4.1: complete evaluation). Pure.

1. Every operator and function is total: with an error it still has a value.
2. Where an operand is an attribute that is not there (section 3.2), or cannot be cast (section 3.3), the operator or
   function that uses it gives the zero value of its own type.
3. AND and OR do not look at their right side when the left one decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from tidemill.events.event import Event
from tidemill.patterns.cesql.functions import find_function
from tidemill.patterns.cesql.operators import apply, like_test, negative
from tidemill.patterns.cesql.syntax import Call, Chain, Exists, In, Like, Literal, Logic, Name, Node, Unary
from tidemill.patterns.cesql.values import (
    MISSING,
    ErrorKind,
    Errors,
    Missing,
    SqlError,
    Value,
    as_boolean,
    as_string,
    cast,
)

__all__ = ["Evaluate", "compile_node", "value_of"]

#: The value of a node for an event; errors go to the list.
Evaluate = Callable[[Event, Errors], Value | Missing]


def value_of(evaluate: Evaluate, event: Event) -> tuple[Value, Errors]:
    """The value of a whole expression and every error on the way."""
    errors: Errors = []
    value = evaluate(event, errors)
    return (False if isinstance(value, Missing) else value), errors


def compile_node(node: Node) -> Evaluate:
    """The function that evaluates `node`; it never raises."""
    match node:
        case Literal(value=value):
            return lambda event, errors: value
        case Name(name=name):
            return _attribute(name)
        case Exists(name=name):
            return lambda event, errors: event.attribute(name) is not None
        case Unary(operator="-", operand=operand):
            number = compile_node(operand)
            return lambda event, errors: negative(number(event, errors), errors)
        case Unary(operand=operand):
            return _negation(compile_node(operand))
        case Logic():
            return _logic(node)
        case Chain():
            return _chain(node)
        case Like():
            return _like(node)
        case In():
            return _membership(node)
        case Call():
            return _call(node)
        case _:
            assert_never(node)


def _attribute(name: str) -> Evaluate:
    def read(event: Event, errors: Errors) -> Value | Missing:
        value = event.attribute(name)
        if value is None:
            errors.append(SqlError(ErrorKind.MISSING_ATTRIBUTE, f"the event has no attribute {name}"))
            return MISSING
        return value

    return read


def _negation(operand: Evaluate) -> Evaluate:
    def negate(event: Event, errors: Errors) -> Value:
        value = _boolean(operand(event, errors), errors)
        return False if value is None else not value

    return negate


def _boolean(value: Value | Missing, errors: Errors) -> bool | None:
    """`value` cast to Boolean; None when it is missing or cannot be cast."""
    if isinstance(value, Missing):
        return None
    before = len(errors)
    cast_value = as_boolean(value, errors)
    return cast_value if len(errors) == before else None


def _logic(node: Logic) -> Evaluate:
    first, *others = map(compile_node, node.operands)
    operator = node.operator

    def evaluate(event: Event, errors: Errors) -> Value:
        value = _boolean(first(event, errors), errors)
        for other in others:
            if value is None:
                return False
            if operator == "XOR" or value is not (operator == "OR"):
                right = _boolean(other(event, errors), errors)
                value = right if operator != "XOR" or right is None else right is not value
        return bool(value)

    return evaluate


def _chain(node: Chain) -> Evaluate:
    first = compile_node(node.first)
    rest = [(sign, compile_node(operand)) for sign, operand in node.rest]

    def evaluate(event: Event, errors: Errors) -> Value | Missing:
        value = first(event, errors)
        for sign, operand in rest:
            value = apply(sign, value, operand(event, errors), errors)
        return value

    return evaluate


def _like(node: Like) -> Evaluate:
    operand, test, negated = compile_node(node.operand), like_test(node.pattern), node.negated

    def evaluate(event: Event, errors: Errors) -> Value:
        value = operand(event, errors)
        return False if isinstance(value, Missing) else test(as_string(value)) is not negated

    return evaluate


def _membership(node: In) -> Evaluate:
    operand, negated = compile_node(node.operand), node.negated
    elements = [compile_node(element) for element in node.elements]

    def evaluate(event: Event, errors: Errors) -> Value:
        before = len(errors)
        value = operand(event, errors)
        others = [element(event, errors) for element in elements]
        if isinstance(value, Missing) or any(isinstance(other, Missing) for other in others):
            return False
        # the left operand's type is the one to cast to
        found = value in [
            cast(other, type(value), errors) for other in others if not isinstance(other, Missing)
        ]
        return len(errors) == before and found is not negated

    return evaluate


def _call(node: Call) -> Evaluate:
    arguments = [compile_node(argument) for argument in node.arguments]
    function = find_function(node.name, len(arguments))
    if function is None:
        unknown = SqlError(
            ErrorKind.MISSING_FUNCTION, f"there is no function {node.name} of {len(arguments)} arguments"
        )

        def fail(event: Event, errors: Errors) -> Value:
            errors.append(unknown)
            return False

        return fail
    kinds, call, zero = function.kinds(len(arguments)), function.call, function.returns()

    def evaluate(event: Event, errors: Errors) -> Value:
        values = [argument(event, errors) for argument in arguments]
        before = len(errors)
        given = [
            value if kind is None else cast(value, kind, errors)
            for value, kind in zip(values, kinds, strict=True)
            if not isinstance(value, Missing)
        ]
        complete = len(given) == len(values) and len(errors) == before
        return call(given, errors) if complete else zero

    return evaluate
