"""Checks an entry against the model of its format and says what is wrong in the user's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from tidemill.project.entry import Entry, pointer_to, suggestion

__all__ = ["check_choice", "check_structure"]

Form = TypeVar("Form", bound=BaseModel)

_MESSAGES = {
    "missing": "{field} is missing",
    "string_type": "{field} must be text",
    "string_too_short": "{field} must not be empty",
    "string_too_long": "{field} may have at most {max_length} characters",
    "bool_type": "{field} must be true or false",
    "int_type": "{field} must be a whole number",
    "greater_than_equal": "{field} must be at least {ge}",
    "less_than_equal": "{field} must be at most {le}",
    "list_type": "{field} must be a list",
    "dict_type": "{field} must be a mapping of names to values",
    "model_type": "{field} must be a mapping of names to values",
    "literal_error": "{field} must be {expected}",
    "too_short": "{field} must not be empty",
}
_PATTERNS = {
    "name": "{field} must begin with a letter or digit, then letters, digits, '.', '_' or '-' (at most 100)",
    "topics": "{field} must be a topic name: letters, digits, '.', '_' or '-' (at most 249)",
    "topic": "{field} must be a topic name: letters, digits, '.', '_' or '-' (at most 249)",
    "env": "{field} must be the name of an environment variable",
}
_IN_CLEAR = "a secret is never written here; write {{env: NAME}} or {{file: PATH}}"


def check_structure(entry: Entry, model: type[Form]) -> Form | None:
    """The entry as `model`; None when it does not fit, with every problem noted."""
    try:
        return model.model_validate(entry.written)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            entry.problem(pointer_to(*problem["loc"]), _message(model, problem))
        return None


def check_choice(entry: Entry, *names: str) -> None:
    """Note a problem unless exactly one of `names` is written in the entry."""
    if not isinstance(entry.written, dict):
        return
    given = [name for name in names if entry.written.get(name) is not None]
    choice = " or ".join([", ".join(names[:-1]), names[-1]])
    if not given:
        entry.problem("", f"one of {choice} is missing")
    elif len(given) > 1:
        entry.problem(f"/{given[1]}", f"{' and '.join(given)} exclude each other; write one of {choice}")


def _message(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One pydantic problem in the user's words; what was written is never repeated (it may be a secret)."""
    loc, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
    last = loc[-1] if loc else "the entry"
    name = repr(last) if isinstance(last, str) and loc else str(last)
    if isinstance(last, int):
        name = f"item {last + 1} of {next((p for p in reversed(loc) if isinstance(p, str)), 'the list')!r}"
    if kind == "extra_forbidden":
        return f"unknown field {name}{suggestion(str(last), _fields(model, loc[:-1]))}"
    if context.get("class_name") == "SecretForm":
        return _IN_CLEAR.format()
    if kind == "value_error":
        return f"{name}: {context['error']}" if loc else str(context["error"])
    if kind == "string_pattern_mismatch":
        word = next((p for p in reversed(loc) if isinstance(p, str)), "")
        return _PATTERNS.get(word, "{field} is not written as it must be").format(field=name)
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(field=name, **context)
    text = str(problem["msg"])
    return f"{name}: {text[:1].lower()}{text[1:]}"


def _fields(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The fields of the model at `loc`."""
    at: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str):
            field = at.model_fields.get(part) if at else None
            at = _model_in(field.annotation) if field else None
    return list(at.model_fields) if at else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `list[Model] | None` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
