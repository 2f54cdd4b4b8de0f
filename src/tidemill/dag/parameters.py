"""A DAG's run parameters: the DAG function's own signature, as one pydantic model made once.

What reaches the store is JSON text; what reaches tasks are the annotated Python types. A DAG without
parameters costs nothing per run. pydantic is imported only where a DAG has parameters, so that `import
tidemill` stays quick.
"""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tidemill.dag.raised import describe
from tidemill.errors import TidemillError
from tidemill.events.event import JSON

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.errors import PydanticUserError

__all__ = ["ParameterError", "ParameterProblem", "Parameters", "SignatureRefused"]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ParameterProblem(NamedTuple):
    """One parameter that does not fit: its dotted name ("" for all of them) and why."""

    name: str
    message: str


class ParameterError(TidemillError):
    """Values do not fit a DAG's parameters; `problems` holds every one. Whoever gave them must act."""

    def __init__(self, problems: list[ParameterProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{name}: {message}" if name else message for name, message in problems))


class SignatureRefused(ValueError):  # noqa: N818 - carried into problems of the definition
    """A DAG function's signature cannot be run parameters; `messages` holds every reason."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages
        super().__init__("; ".join(messages))


class Parameters:
    """Checks and converts the parameters of one DAG's runs."""

    __slots__ = ("_fields", "_model", "names")

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        """Read the signature of `function`; None means no parameters. Raises `SignatureRefused`."""
        #: Names in the order of the signature.
        self.names: tuple[str, ...] = ()
        self._model: type[BaseModel] | None = None
        #: Name to the model's field: names of parameters may be words that models reserve.
        self._fields: tuple[tuple[str, str], ...] = ()
        signature = None if function is None else inspect.signature(function)
        if function is None or signature is None or not signature.parameters:
            return
        self.names = tuple(signature.parameters)
        self._fields = tuple((name, f"parameter{place}") for place, name in enumerate(self.names))
        self._model = _make_model(function, signature, dict(self._fields))

    def validate(self, values: Mapping[str, JSON]) -> dict[str, JSON]:
        """The JSON values as they are stored: converted, with defaults. Raises `ParameterError`."""
        if self._model is None:
            return self._accept_nothing(values)
        made = self._from_json(_encode(values))
        try:
            stored: dict[str, JSON] = self._model.__pydantic_serializer__.to_python(
                made, mode="json", by_alias=True, warnings=False
            )
        except Exception as error:
            raise _raised("writing the parameters as JSON", error) from error
        return stored

    def validate_python(self, values: Mapping[str, JSON]) -> Mapping[str, Any]:
        """JSON values as the annotated Python types. Raises `ParameterError`."""
        if self._model is None:
            return self._accept_nothing(values)
        return self._by_name(self._from_json(_encode(values)))

    def load(self, json_text: bytes) -> Mapping[str, Any]:
        """Stored JSON text as the annotated Python types. Raises `ParameterError`."""
        if self._model is None:
            return {} if json_text in (b"{}", b"", b"null") else self._accept_nothing(orjson.loads(json_text))
        return self._by_name(self._from_json(json_text))

    @property
    def annotations(self) -> dict[str, Any]:
        """The types of the parameters by name."""
        if self._model is None:
            return {}
        return {name: self._model.model_fields[field].annotation for name, field in self._fields}

    def unwritable_defaults(self) -> list[ParameterProblem]:
        """Defaults that cannot be stored as JSON: a run that relies on one cannot start."""
        from pydantic import TypeAdapter

        found: list[ParameterProblem] = []
        for name, field in self._fields if self._model is not None else ():
            known = self._model.model_fields[field]  # type: ignore[union-attr]
            if known.is_required():
                continue
            annotation: Any = known.annotation
            try:
                TypeAdapter(annotation).dump_json(known.default, warnings=False)
            except Exception as error:  # whatever the value's own conversion raises
                found.append(ParameterProblem(name, describe(error)))
        return found

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the parameters."""
        if self._model is None:
            return {"type": "object", "properties": {}, "additionalProperties": False}
        schema = _schema_of(self._model)
        schema.pop("title", None)
        return schema

    def _from_json(self, text: bytes) -> BaseModel:
        from pydantic import ValidationError

        assert self._model is not None  # noqa: S101
        try:
            made: BaseModel = self._model.__pydantic_validator__.validate_json(text)
        except ValidationError as error:
            raise ParameterError(_problems(error)) from error
        except Exception as error:  # validators of the user's own types may raise anything
            raise _raised("checking the parameters", error) from error
        return made

    def _by_name(self, made: BaseModel) -> dict[str, Any]:
        held = made.__dict__
        return {name: held[field] for name, field in self._fields}

    def _accept_nothing(self, values: Mapping[str, JSON]) -> dict[str, JSON]:
        if values:
            raise ParameterError(
                [ParameterProblem(str(name), "this DAG has no parameters") for name in values]
            )
        return {}


def _raised(what: str, error: Exception) -> ParameterError:
    return ParameterError([ParameterProblem("", f"{what} raised {describe(error)}")])


def _encode(values: Mapping[str, JSON]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError as error:
        raise ParameterError([ParameterProblem("", f"the values are not JSON: {error}")]) from error


def _problems(error: ValidationError) -> list[ParameterProblem]:
    return [
        ParameterProblem(".".join(str(step) for step in one["loc"]), _wording(one["type"], one["msg"]))
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _wording(kind: str, message: str) -> str:
    match kind:
        case "missing":
            return "this parameter is required"
        case "extra_forbidden":
            return "there is no such parameter"
        case _:
            return message[:1].lower() + message[1:]


def _make_model(
    function: Callable[..., Any], signature: inspect.Signature, fields: Mapping[str, str]
) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model
    from pydantic.errors import PydanticUserError

    hints = _hints(function)
    refused: list[str] = []
    made: dict[str, Any] = {}
    for name, one in signature.parameters.items():
        if one.kind not in _NAMED:
            refused.append(f"parameter {one} of the DAG must be passable by name")
            continue
        annotation = hints.get(name, Any)
        default: Any = ...
        if one.default is not inspect.Parameter.empty:
            default = one.default
            refused += _default_problems(name, annotation, default)
        made[fields[name]] = (annotation, Field(default, alias=name))
    if refused:
        raise SignatureRefused(refused)
    try:
        model = create_model(
            getattr(function, "__name__", "dag"),
            __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
            **made,
        )
        schema = _schema_of(model)
    except PydanticUserError as error:
        raise SignatureRefused([f"the parameters cannot be read from JSON: {_first_line(error)}"]) from error
    if b'"writeOnly":true' in orjson.dumps(schema):
        raise SignatureRefused(
            ["a secret cannot be a parameter, since parameters are stored and shown; read it inside the task"]
        )
    return model


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    from pydantic.json_schema import PydanticJsonSchemaWarning

    with warnings.catch_warnings():
        # Defaults that are no JSON are left out of the schema; `unwritable_defaults` tells of them.
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)
        return model.model_json_schema(by_alias=True)


def _first_line(error: PydanticUserError) -> str:
    return error.message.splitlines()[0]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise SignatureRefused(
            [f"the annotations of the DAG's parameters cannot be read: {error}"]
        ) from error


def _default_problems(name: str, annotation: Any, default: Any) -> list[str]:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        TypeAdapter(annotation).validate_python(default)
    except ValidationError as error:
        reasons = ", ".join(one.message for one in _problems(error))
        return [f"the default of parameter {name!r} does not fit its type: {reasons}"]
    except PydanticUserError as error:
        return [f"parameter {name!r} cannot be read from JSON: {_first_line(error)}"]
    return []
