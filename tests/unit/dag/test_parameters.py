"""A DAG's run parameters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator

from tidemill.dag.parameters import ParameterError, Parameters, SignatureRefused


class Color(Enum):
    RED = "red"


class Line(BaseModel):
    sku: str
    count: Annotated[int, Field(gt=0)] = 1


class Order(BaseModel):
    id: UUID
    lines: list[Line]


def flow(  # type: ignore[no-untyped-def]
    order: Order,
    at: datetime,
    day: date = date(2024, 2, 29),
    *,
    amount: Decimal = Decimal("1.50"),
    color: Color = Color.RED,
    limit: Annotated[int, Field(ge=1, le=10)] = 5,
    span: timedelta | None = None,
    mode: Literal["fast", "slow"] = "fast",
    schema: str = "x",
    _hidden: int = 0,
    anything=None,
) -> None: ...


_ID = "12345678-1234-5678-1234-567812345678"
_GIVEN = {
    "order": {"id": _ID, "lines": [{"sku": "a"}]},
    "at": "2024-01-01T00:00:00+01:00",
    "anything": {"k": [1]},
}


def test_values_are_stored_as_json_with_defaults_and_reach_tasks_as_their_types() -> None:
    parameters = Parameters(flow)

    stored = parameters.validate(_GIVEN)
    loaded = parameters.load(orjson.dumps(stored))

    assert stored == {
        "order": {"id": _ID, "lines": [{"sku": "a", "count": 1}]},
        "at": "2024-01-01T00:00:00+01:00",
        "day": "2024-02-29",
        "amount": "1.50",
        "color": "red",
        "limit": 5,
        "span": None,
        "mode": "fast",
        "schema": "x",
        "_hidden": 0,
        "anything": {"k": [1]},
    }
    assert loaded["order"] == Order(id=UUID(_ID), lines=[Line(sku="a")])
    assert loaded["at"] == datetime(2023, 12, 31, 23, tzinfo=UTC)
    assert (loaded["day"], loaded["amount"], loaded["color"]) == (
        date(2024, 2, 29),
        Decimal("1.50"),
        Color.RED,
    )
    assert loaded == parameters.validate_python(_GIVEN)
    assert parameters.names[:2] == ("order", "at")


def test_every_value_that_does_not_fit_is_named() -> None:
    values = {"order": {"id": "x", "lines": [{"sku": 1, "count": 0}]}, "limit": 11, "mode": "no", "more": 1}

    with pytest.raises(ParameterError) as caught:
        Parameters(flow).validate(values)

    assert [problem.name for problem in caught.value.problems] == [
        "order.id",
        "order.lines.0.sku",
        "order.lines.0.count",
        "at",
        "limit",
        "mode",
        "more",
    ]
    messages = dict(caught.value.problems)
    assert messages["at"] == "this parameter is required"
    assert messages["more"] == "there is no such parameter"
    assert messages["limit"] == "input should be less than or equal to 10"


@pytest.mark.parametrize("value", [2**70, {1, 2}, b"x"], ids=["large", "set", "bytes"])
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match="the values are not JSON"):
        Parameters(lambda x: None).validate({"x": value})


def test_infinite_numbers_are_refused_because_json_cannot_keep_them() -> None:
    def numbers(x: float) -> None: ...

    parameters = Parameters(numbers)

    assert parameters.validate({"x": "1.5"}) == {"x": 1.5}
    with pytest.raises(ParameterError, match="x: input should be a finite number"):
        parameters.validate({"x": "inf"})


def test_no_parameters_accept_nothing_else() -> None:
    parameters = Parameters(lambda: None)

    assert parameters.validate({}) == {}
    assert parameters.load(b"{}") == {}
    with pytest.raises(ParameterError) as caught:
        parameters.validate({"a": 1, "b": 2})
    assert caught.value.problems == (
        ("a", "this DAG has no parameters"),
        ("b", "this DAG has no parameters"),
    )
    assert parameters.json_schema() == {"type": "object", "properties": {}, "additionalProperties": False}


def test_json_schema_names_types_defaults_and_bounds() -> None:
    schema = Parameters(flow).json_schema()

    assert schema["required"] == ["order", "at"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["limit"] == {
        "default": 5,
        "maximum": 10,
        "minimum": 1,
        "title": "Limit",
        "type": "integer",
    }
    assert schema["properties"]["order"] == {"$ref": "#/$defs/Order"}


class Plain:
    pass


def _unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def _plain(x: Plain) -> None: ...


def _secret(x: SecretStr, y: int = "no") -> None: ...  # type: ignore[assignment]


def _hidden_secret(x: list[SecretStr]) -> None: ...


def _call(x: Callable[[], int]) -> None: ...


def _rest(*x: int, **y: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "messages"),
    [
        (_unknown, ["the annotations of the DAG's parameters cannot be read: name 'Nowhere' is not defined"]),
        (_plain, ["the parameters cannot be read from JSON: Unable to generate pydantic-core schema"]),
        (_secret, ["the default of parameter 'y' does not fit its type: input should be a valid integer"]),
        (_hidden_secret, ["a secret cannot be a parameter"]),
        (_call, ["the parameters cannot be read from JSON"]),
        (_rest, ["parameter *x: int of the DAG must be passable", "parameter **y: int of the DAG must"]),
    ],
    ids=["unknown", "plain", "default", "secret", "callable", "rest"],
)
def test_signatures_that_cannot_be_parameters_are_refused(
    function: Callable[..., Any], messages: list[str]
) -> None:
    with pytest.raises(SignatureRefused) as caught:
        Parameters(function)

    assert len(caught.value.messages) == len(messages)
    for found, message in zip(caught.value.messages, messages, strict=True):
        assert found.replace("'", "").startswith(message.replace("'", ""))


class Odd(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def look_up(cls, name: str) -> str:
        return {"a": "A"}[name]


def test_whatever_validators_of_the_users_types_raise_is_a_problem() -> None:
    def odd(x: Odd) -> None: ...

    with pytest.raises(ParameterError, match="checking the parameters raised KeyError: 'b'"):
        Parameters(odd).validate({"x": {"name": "b"}})


def test_mutable_defaults_are_not_shared_between_runs() -> None:
    def rows(x: list[int] = []) -> None: ...  # noqa: B006

    parameters = Parameters(rows)
    parameters.load(b"{}")["x"].append(1)

    assert parameters.load(b"{}") == {"x": []}


def test_importing_tidemill_loads_neither_the_server_nor_pydantic(tmp_path: Path) -> None:
    heavy = {"fastapi", "aiokafka", "pydantic", "asyncio"}
    code = f"import sys, tidemill; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert done.stdout.strip() == "[]"
