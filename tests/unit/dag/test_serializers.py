"""Results as JSON and as values again: what comes back, what is refused, and that nothing is ever unpickled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any
from uuid import UUID

import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill import dag, task
from tidemill.dag import serializers
from tidemill.dag.build import build
from tidemill.dag.serializers import find_serializer

TAGGED = find_serializer("tagged")
SCALARS = [
    b"\x00\xff",
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 2, 29, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2024, 2, 29),  # noqa: DTZ001 - without a zone it comes back without one
    date(1, 1, 1),
    time(23, 59, 1, 5),
    timedelta(days=-3, microseconds=7),
    Decimal("1.50"),
    Decimal("NaN").copy_sign(Decimal(1)),
    UUID(int=7),
    1 << 80,
    -(1 << 63),
    math.inf,
    {1, 2, 3},
    frozenset({"a"}),
    (1, (2, [3])),
    {1: "a", (1, 2): "b"},
    {"$type": "decimal", "value": "not one"},
    {"plain": [1, 2.5, None, True, "ß"]},
]


def function() -> None: ...


def over_json(value: Any) -> Any:
    return TAGGED.decode(orjson.loads(orjson.dumps(TAGGED.encode(value, function))), function)


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_tagged_value_comes_back_as_it_was(value: Any) -> None:
    found = over_json([value])[0]

    assert type(found) is type(value)
    assert repr(found) == repr(value)


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.sampled_from(["$type", "value", "a"]), inner)
        | st.tuples(inner)
    ),
    max_leaves=12,
)


@given(JSONS)
def test_tagged_tree_comes_back_as_it_was(value: Any) -> None:
    if "\\ud" in repr(value):
        return  # lone surrogates are no JSON text

    assert over_json(value) == value


@pytest.mark.parametrize("text", ['{"$type":"os.system","value":"id"}', '{"$type":"pickle","value":"gASV"}'])
def test_unknown_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="which is no type that results can have"):
        TAGGED.decode(orjson.loads(text), function)


def test_value_without_a_tag_is_refused() -> None:
    with pytest.raises(TypeError, match="a object has no tag"):
        TAGGED.encode(object(), function)


class Order(pydantic.BaseModel):
    number: int
    price: Decimal
    at: datetime


@dataclass(frozen=True)
class Parcel:
    order: Order
    labels: frozenset[str]


def make() -> list[Parcel]: ...  # type: ignore[empty-body]


def test_typed_value_comes_back_by_its_annotation() -> None:
    typed = find_serializer("typed")
    order = Order(number=1, price=Decimal("2.50"), at=datetime(2024, 1, 1, tzinfo=UTC))
    value = [Parcel(order, frozenset({"a"}))]

    text = orjson.dumps(typed.encode(value, make))

    assert typed.decode(orjson.loads(text), make) == value


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"result": "pickle"}, "result must be one of json, tagged, typed"),
        ({"result": 5}, "result must be the name of a serializer"),
        ({"result": "typed"}, "needs a return annotation"),
    ],
)
def test_serializer_that_cannot_be_is_a_problem_of_the_definition(options: Any, says: str) -> None:
    @task(**options)
    async def bare():  # type: ignore[no-untyped-def]
        return 1

    @dag
    def flow() -> Any:
        bare()

    problems = build(flow)

    assert isinstance(problems, list)
    assert any(says in str(one) for one in problems)


class Reversed:
    """A package's own: texts backwards."""

    def encode(self, value: Any, function: Any) -> Any:
        return value[::-1]

    def decode(self, value: Any, function: Any) -> Any:
        return value[::-1]


def test_installed_package_brings_a_serializer_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("reversed", f"{__name__}:Reversed", serializers._GROUP)
    monkeypatch.setattr(serializers, "_installed", lambda: EntryPoints([entry]))
    monkeypatch.setattr(EntryPoint, "load", lambda self: Reversed)
    find_serializer.cache_clear()

    found = find_serializer("reversed")

    assert found.decode(found.encode("abc", function), function) == "abc"
    assert "reversed" in serializers.serializer_names()
    find_serializer.cache_clear()
