"""Annotations that cannot fit are told; what may fit, or is not understood, is left alone."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pydantic
import pytest

from tidemill.dag.annotations import annotations_of, describe, never_json, strip
from tidemill.dag.type_fit import mismatch
from tidemill.dag.type_paths import at_path

T = TypeVar("T")
UserId = NewType("UserId", int)


class Row(TypedDict):
    id: int
    name: str
    note: NotRequired[str]


class Other(TypedDict):
    id: str
    name: str


class Less(TypedDict):
    id: int


class Model(pydantic.BaseModel):
    id: int
    name: str = ""


class Open(pydantic.BaseModel, extra="allow"):
    id: int


class Aliased(pydantic.BaseModel):
    id: int = pydantic.Field(alias="number")


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Colour(enum.Enum):
    RED = "red"


class Level(enum.Enum):
    LOW = 1


class Tree(TypedDict):
    below: list[Tree]


class Anything:
    pass


class Sized(Protocol):
    def size(self) -> int: ...


FIT = [
    (int, int),
    (int, float),
    (bool, int),
    (int, bool),
    (int, Any),
    (Any, int),
    (object, int),
    (int, object),
    (T, int),
    (int, T),
    (int, int | None),
    (int | None, int),
    (int | str, str),
    (Optional[int], Union[int, str]),  # noqa: UP007, UP045 - people write them
    (UserId, int),
    (int, UserId),
    (Annotated[int, "of something"], float),
    (datetime, str),
    (str, datetime),
    (str, UUID),
    (str, Path),
    (float, timedelta),
    (str, Decimal),
    (str, Colour),
    (Colour, str),
    (int, Level),
    (Anything, int),
    (int, Sized),
    (list[int], list[float]),
    (list, list[int]),
    (list[int], Sequence[int]),
    (list[int], set[int]),
    (tuple[int, str], list[int | str]),
    (tuple[int, ...], tuple[int, int]),
    (str, Sequence[str]),
    (str, Iterable[str]),
    (dict[str, int], Iterable[str]),
    (dict[str, int], Mapping[str, float]),
    (dict, Row),
    (dict[str, Any], Model),
    (Row, dict),
    (Row, dict[str, Any]),
    (Row, Less),
    (Row, Model),
    (Model, Row),
    (Model, dict[str, Any]),
    (Open, Row),
    (Aliased, Less),
    (Point, dict[str, int]),
    (Tree, Tree),
    (list[Row], list[Model]),
    (Literal["a", "b"], Literal["b", "c"]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (None, int | None),
    (Callable[[], int], int),
]
MISFIT = [
    (str, int, "it is str, not int"),
    (int, str, "it is int, not str"),
    (float, int, "it is float, not int"),
    (None, int, "it is None, not int"),
    (int, datetime, "it is int, not datetime"),
    (str, Level, "it is str, not Level"),
    (int, Colour, "it is int, not Colour"),
    (str | None, int, "it is str | None, not int"),
    (int | str, list[int] | dict[str, int], "it is int | str, not list[int] | dict[str, int]"),
    (list[str], list[int], "its items: it is str, not int"),
    (list[list[str]], list[list[int]], "its items: its items: it is str, not int"),
    (list[int], dict[str, int], "it is list[int], not dict[str, int]"),
    (dict[str, str], dict[str, int], "its values: it is str, not int"),
    (tuple[int, str], list[int], "its item 1: it is str, not int"),
    (tuple[int, int], tuple[int], "it has 2 items, not 1"),
    (int, list[int], "it is int, not list[int]"),
    (int, Sequence[int], "it is int, not Sequence[int]"),
    (Row, Other, "its 'id': it is int, not str"),
    (Less, Row, "it has no 'name', which Row needs"),
    (Less, Point, "it has no 'x', which Point needs"),
    (Row, dict[str, int], "its 'name': it is str, not int"),
    (Row, list, "it is Row, not list"),
    (list[Less], list[Row], "its items: it has no 'name', which Row needs"),
    (Literal["a", "b"], Literal["c"], "it is Literal['a', 'b'], not Literal['c']"),
    (Literal["a"], int, "it is Literal['a'], not int"),
    (int, Literal["a"], "it is int, not Literal['a']"),
    (Model, int, "it is Model, not int"),
]


@pytest.mark.parametrize(("produced", "wanted"), FIT, ids=str)
def test_annotations_that_may_fit_are_left_alone(produced: Any, wanted: Any) -> None:
    assert mismatch(produced, wanted) is None


@pytest.mark.parametrize(("produced", "wanted", "reason"), MISFIT, ids=str)
def test_annotations_that_cannot_fit_are_told_with_the_place(produced: Any, wanted: Any, reason: str) -> None:
    assert mismatch(produced, wanted) == reason


@pytest.mark.parametrize(
    ("produced", "wanted", "fits"),
    [
        (datetime, str, False),
        (datetime, date, True),
        (Model, dict, False),
        (str, Path, False),
        (Model, Model, True),
        (int, float, True),
        (list[int], Sequence[int], True),
        (Point, Model, False),
    ],
    ids=str,
)
def test_parameters_reach_tasks_as_the_classes_themselves(produced: Any, wanted: Any, *, fits: bool) -> None:
    assert (mismatch(produced, wanted, is_json=False) is None) is fits


@pytest.mark.parametrize(
    ("annotation", "path", "found"),
    [
        (Row, ("id",), int),
        (Row, ("note",), str),
        (Model, ("name",), str),
        (Point, ("y",), int),
        (dict[str, list[int]], ("a", 0), int),
        (tuple[int, str], (1,), str),
        (Row | None, ("id",), int),
        (dict, ("a", "b"), Any),
        (Any, ("a",), Any),
        (Open, ("more",), Any),
        (Aliased, ("number",), Any),
        (Tree, ("below", 0, "below", 0), Tree),
    ],
    ids=str,
)
def test_path_leads_to_what_is_annotated_there(annotation: Any, path: Any, found: Any) -> None:
    made, reason = at_path(annotation, path)

    assert (strip(made), reason) == (found, None)


@pytest.mark.parametrize(
    ("annotation", "path", "reason"),
    [
        (Row, ("nam",), "['nam']: Row has no 'nam' (it has 'id', 'name', 'note')"),
        (Model, ("x",), "['x']: Model has no 'x' (it has 'id', 'name')"),
        (Point, (0,), "[0]: Point has names, not positions"),
        (int, ("a",), "['a']: int has no parts"),
        (list[int], ("a",), "['a']: list[int] has positions, not names"),
        (list[int], (0, 0), "[0][0]: int has no parts"),
        (tuple[int, str], (2,), "[2]: tuple[int, str] has no item 2"),
        (str, ("a",), "['a']: str has no names"),
    ],
    ids=str,
)
def test_path_that_leads_nowhere_is_told(annotation: Any, path: Any, reason: str) -> None:
    assert at_path(annotation, path)[1] == reason


def test_classes_that_no_result_can_be_are_known() -> None:
    for annotation in (bytes, complex, Path, timedelta, Iterator[int], bytes | complex):
        assert never_json(annotation), annotation
    for annotation in (int, set[int], bytes | str, Any, Anything, datetime, Model, None):
        assert not never_json(annotation), annotation


def test_annotations_that_cannot_be_evaluated_are_left_out() -> None:
    def function(a: int, b: Missing) -> str: ...  # type: ignore[name-defined]  # noqa: F821

    assert annotations_of(function) == {"a": int, "return": str}


def test_annotations_are_shown_as_people_write_them() -> None:
    assert describe(dict[str, list[int | None]]) == "dict[str, list[int | None]]"
