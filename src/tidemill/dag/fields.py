"""What parts a class with named parts has: TypedDicts, dataclasses and pydantic models, read alike. Pure."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typing_extensions

__all__ = ["Field", "Fields", "fields_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """One part."""

    annotation: Any
    #: A value without it is none of this class.
    is_required: bool


@dataclass(frozen=True, slots=True)
class Fields:
    """The parts of one class."""

    name: str
    items: Mapping[str, Field]
    #: There may be parts that it does not name.
    is_open: bool = False
    #: Parts may go by other names than in the code (aliases).
    is_renamed: bool = False


def fields_of(annotation: Any) -> Fields | None:
    """The parts of a class; None when it is none with named parts, or they cannot be told."""
    if not isinstance(annotation, type):
        return None
    if typing_extensions.is_typeddict(annotation):
        return _typed_dict(annotation)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it
    if pydantic is not None and issubclass(annotation, pydantic.BaseModel):
        return _model(annotation)
    return None


def _typed_dict(annotation: type) -> Fields | None:
    hints = _hints(annotation)
    if hints is None:
        return None
    required: frozenset[str] = getattr(annotation, "__required_keys__", frozenset())
    items = {}
    for name, one in hints.items():
        # Annotations that are texts hide NotRequired from the class, which then takes the part for required.
        is_optional = typing_extensions.get_origin(one) in (typing.NotRequired, typing_extensions.NotRequired)
        items[name] = Field(one, name in required and not is_optional)
    return Fields(annotation.__name__, items)


def _dataclass(annotation: type) -> Fields | None:
    hints = _hints(annotation)
    if hints is None:
        return None
    items = {
        one.name: Field(
            hints.get(one.name, Any),
            one.init and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        )
        for one in dataclasses.fields(annotation)
    }
    return Fields(annotation.__name__, items)


def _model(annotation: Any) -> Fields | None:
    if getattr(annotation, "__pydantic_root_model__", False):
        return None
    if not getattr(annotation, "__pydantic_complete__", True):
        return None
    items = {name: Field(one.annotation, one.is_required()) for name, one in annotation.model_fields.items()}
    computed = {
        name: Field(one.return_type, is_required=False)
        for name, one in annotation.model_computed_fields.items()
    }
    fields = annotation.model_fields.values()
    is_renamed = any(one.alias or one.validation_alias or one.serialization_alias for one in fields) or bool(
        annotation.__pydantic_decorators__.model_validators
    )
    is_open = annotation.model_config.get("extra") == "allow"
    return Fields(annotation.__name__, {**items, **computed}, is_open, is_renamed)


def _hints(annotation: type) -> dict[str, Any] | None:
    try:
        return typing_extensions.get_type_hints(annotation, include_extras=True)
    except Exception:  # refers to what is imported for type checkers only
        return None
