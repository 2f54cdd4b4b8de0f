"""JSON Patch: the rules of RFC 6902, and that a patch is applied whole or not at all."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.api.json_patch import MAX_COPIED, MAX_OPERATIONS, PatchFailed, apply

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~0", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def op(name: str, path: str, **members: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **members}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": 1}, [op("add", "/b", value=2)], {"a": 1, "b": 2}),
        ({"a": 1}, [op("add", "/a", value=2)], {"a": 2}),
        ({"a": [1, 3]}, [op("add", "/a/1", value=2)], {"a": [1, 2, 3]}),
        ({"a": [1]}, [op("add", "/a/-", value=2)], {"a": [1, 2]}),
        ({"a": [1]}, [op("add", "/a/1", value=[2])], {"a": [1, [2]]}),
        ({"a": 1}, [op("add", "", value=[])], []),
        ({"a": 1, "b": 2}, [op("remove", "/a")], {"b": 2}),
        ({"a": [1, 2]}, [op("remove", "/a/0")], {"a": [2]}),
        ({"a": 1}, [op("replace", "/a", value=None)], {"a": None}),
        ({"a": 1}, [op("replace", "", value={"b": 1})], {"b": 1}),
        (
            {"a": {"b": 1}, "c": {}},
            [{"op": "move", "from": "/a/b", "path": "/c/d"}],
            {"a": {}, "c": {"d": 1}},
        ),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "m~n": 2}, [op("remove", "/a~1b"), op("remove", "/m~0n")], {}),
        ({"~1": 10}, [op("test", "/~01", value=10)], {"~1": 10}),
        ({"": 1}, [op("replace", "/", value=2)], {"": 2}),
        ({"a": 1.0}, [op("test", "/a", value=1)], {"a": 1.0}),
        ({"a": {"x": 1, "y": 2}}, [op("test", "/a", value={"y": 2, "x": 1})], {"a": {"x": 1, "y": 2}}),
        ({"0": 1}, [op("replace", "/0", value=2, note="ignored")], {"0": 2}),
        (None, [op("add", "", value={"id": "1"})], {"id": "1"}),
    ],
)
def test_operation_does_what_the_rfc_says(document: Any, patch: list[Any], expected: Any) -> None:
    before = copy.deepcopy(document)

    assert apply(document, patch) == expected
    assert document == before


@pytest.mark.parametrize(
    ("document", "patch", "index"),
    [
        ({"a": 1}, {"op": "add"}, None),
        ({"a": 1}, [op("add", "/b", value=1)] * (MAX_OPERATIONS + 1), None),
        ({"a": 1}, [op("test", "/a", value=1), op("remove", "/b")], 1),
        ({"a": 1}, [op("replace", "/b", value=1)], 0),
        ({"a": 1}, [op("add", "/b/c", value=1)], 0),
        ({"a": 1}, [op("add", "/a/b", value=1)], 0),
        ({"a": []}, [op("add", "/a/1", value=1)], 0),
        ({"a": [1]}, [op("add", "/a/01", value=1)], 0),
        ({"a": [1]}, [op("remove", "/a/-")], 0),
        ({"a": [1]}, [op("remove", "/a/x")], 0),
        ({"a": [1]}, [op("remove", "/a/²")], 0),
        ({"a": 1}, [op("add", "a", value=1)], 0),
        ({"a": 1}, [op("add", "/~2", value=1)], 0),
        ({"a": 1}, [op("add", "/b")], 0),
        ({"a": 1}, [op("grow", "/b", value=1)], 0),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a/b"}], 0),
        ({"a": 1}, [{"op": "copy", "path": "/b"}], 0),
        ({"a": 1}, ["add"], 0),
        ({"a": 1}, [op("test", "/a", value=True)], 0),
        ({"a": 0}, [op("test", "/a", value=False)], 0),
        ({"a": "1"}, [op("test", "/a", value=1)], 0),
        ({"a": [1, 2]}, [op("test", "/a", value=[1])], 0),
    ],
)
def test_patch_that_cannot_be_applied_is_refused_with_its_place(
    document: Any, patch: Any, index: int | None
) -> None:
    before = copy.deepcopy(document)

    with pytest.raises(PatchFailed) as refused:
        apply(document, patch)

    assert refused.value.index == index
    assert document == before


@given(VALUES, VALUES)
def test_a_value_that_was_put_somewhere_is_there(document: Any, value: Any) -> None:
    holder = {"document": document}

    patched = apply(holder, [op("add", "/new", value=value), op("test", "/new", value=value)])

    assert patched == {"document": document, "new": value}
    assert apply(patched, [op("remove", "/new")]) == holder


@given(
    VALUES,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "move", "copy", "test"]),
                "path": st.text("/ab~01-", max_size=6),
                "from": st.text("/ab~01-", max_size=6),
                "value": VALUES,
            }
        ),
        max_size=5,
    ),
)
def test_no_patch_changes_the_document_that_it_was_given(document: Any, patch: list[Any]) -> None:
    before = copy.deepcopy(document)
    with contextlib.suppress(PatchFailed):
        apply(document, patch)
    assert document == before


@pytest.mark.parametrize(
    ("document", "patch", "words"),
    [
        (
            {"a": "x" * 100},
            [{"op": "copy", "from": "", "path": f"/{i}"} for i in range(100)],
            "copies too much",
        ),
        ({"a": 1}, [{"op": "copy", "from": "", "path": "/b"}] * 1_000, "nested too deep"),
        ({"a": "x" * MAX_COPIED}, [{"op": "copy", "from": "/a", "path": "/b"}], "copies too much"),
        ({}, [op("add", "/a" * depth, value={}) for depth in range(1, 100)], "nested too deep"),
        (
            {"a": {}},
            [op("replace", "/a", value={"a": {}}), op("add", "/a" * 64, value={})],
            "nothing|member",
        ),
        (
            {"a": [], "b": []},
            [
                each
                for _ in range(100)
                for each in (
                    {"op": "move", "from": "/a", "path": "/b/0"},
                    {"op": "move", "from": "/b", "path": "/a"},
                    op("add", "/b", value=[]),
                )
            ],
            "nested too deep",
        ),
    ],
)
def test_patch_cannot_grow_without_bound(document: Any, patch: list[Any], words: str) -> None:
    with pytest.raises(PatchFailed, match=words):
        apply(document, patch)


def test_patch_may_copy_as_much_as_an_event_may_hold() -> None:
    text = "x" * (MAX_COPIED - 1)

    assert apply({"a": text}, [{"op": "copy", "from": "/a", "path": "/b"}])["b"] == text
