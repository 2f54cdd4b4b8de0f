"""JSON Patch (RFC 6902) on JSON Pointers (RFC 6901): a new document, or the reason why there is none. Pure.

All operations are applied or none; the document that is given is left as it is. Values are equal as JSON has it:
numbers by value, and true is not 1. A patch cannot grow without bound: what `copy` copies is counted, and nothing is
put deeper than JSON is read.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tidemill.errors import TidemillError
from tidemill.events.limits import MAX_DEPTH

__all__ = ["MAX_COPIED", "MAX_OPERATIONS", "PatchFailed", "apply"]

#: Most operations in one patch.
MAX_OPERATIONS = 1_000
#: Most that the `copy` operations of one patch may copy: characters, and one for each value.
MAX_COPIED = 1 << 20
_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


class PatchFailed(TidemillError):  # noqa: N818 - an answer, not an error of ours
    """A patch that cannot be applied: `index` is the operation, `fault` what is wrong with it."""

    def __init__(self, index: int | None, fault: str) -> None:
        self.index = index
        self.fault = fault
        super().__init__(fault if index is None else f"operation {index}: {fault}")


class _Fault(Exception):  # noqa: N818 - becomes a `PatchFailed`
    """What is wrong with one operation."""


def apply(document: Any, patch: Any) -> Any:
    """The document after the patch; raises `PatchFailed`."""
    if not isinstance(patch, list):
        raise PatchFailed(None, "a JSON Patch is a list of operations")
    if len(patch) > MAX_OPERATIONS:
        raise PatchFailed(None, f"the patch has more than {MAX_OPERATIONS} operations")
    root = [copy.deepcopy(document)]
    left = MAX_COPIED
    for index, operation in enumerate(patch):
        try:
            left -= _operate(root, operation, left)
        except _Fault as fault:
            raise PatchFailed(index, str(fault)) from None
    return root[0]


def _operate(root: list[Any], operation: Any, left: int) -> int:
    """Apply one operation; how much it copied, at most `left`."""
    if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
        raise _Fault(f"op must be one of {', '.join(_OPERATIONS)}")
    path = _pointer(operation, "path")
    match operation["op"]:
        case "add":
            _add(root, path, copy.deepcopy(_value(operation)))
        case "remove":
            _remove(root, path)
        case "replace":
            value = copy.deepcopy(_value(operation))
            _check_depth(path, value)
            holder, key = _place(root, path)
            _get(holder, key)
            holder[_index(holder, key)] = value
        case "move":
            origin = _pointer(operation, "from")
            if path[: len(origin)] == origin and path != origin:
                raise _Fault("a value cannot be moved into itself")
            _add(root, path, _remove(root, origin))
        case "copy":
            original = _get(*_place(root, _pointer(operation, "from")))
            size = _size(original, left)
            _add(root, path, copy.deepcopy(original))
            return size
        case "test":
            if not _same(_get(*_place(root, path)), _value(operation)):
                raise _Fault("the value there is another one")
    return 0


def _size(value: Any, most: int) -> int:
    """Characters and values; raises where they are more than `most`."""
    size, pending = 0, [value]
    while pending:
        one = pending.pop()
        size += 1
        if isinstance(one, dict):
            size += sum(map(len, one))
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, str):
            size += len(one)
        if size > most:
            raise _Fault("the patch copies too much")
    return size


def _check_depth(path: Sequence[str], value: Any) -> None:
    # The first token of a path is the list that holds the document; an event's data lie one deeper than by themselves.
    if len(path) - 1 + _depth(value) > MAX_DEPTH + 1:
        raise _Fault("the document would be nested too deep")


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise _Fault("value is missing")
    return operation["value"]


def _pointer(operation: dict[str, Any], member: str) -> list[str]:
    """The tokens of a pointer, below the list that holds the document."""
    text = operation.get(member)
    if not isinstance(text, str):
        raise _Fault(f"{member} is missing")
    if text and not text.startswith("/"):
        raise _Fault(f"{member} must be empty or begin with /")
    tokens = text.split("/")[1:]
    for token in tokens:
        if "~" in token.replace("~0", "").replace("~1", ""):
            raise _Fault(f"{member} has a ~ that is neither ~0 nor ~1")
    return ["0", *(token.replace("~1", "/").replace("~0", "~") for token in tokens)]


def _place(root: list[Any], path: Sequence[str]) -> tuple[Any, str]:
    """The container of the value at `path`, and its key there."""
    holder: Any = root
    for token in path[:-1]:
        holder = _get(holder, token)
    if not isinstance(holder, dict | list):
        raise _Fault("the path leads into a value that holds nothing")
    return holder, path[-1]


def _index(holder: Any, key: str, *, end: bool = False) -> Any:
    """The key as the container takes it; `end`: the place after the last one counts, too."""
    if isinstance(holder, dict):
        return key
    if end and key == "-":
        return len(holder)
    if not key.isascii() or not key.isdecimal() or (key != "0" and key.startswith("0")) or len(key) > 10:
        raise _Fault(f"{key!r} is no place in a list")
    if int(key) >= len(holder) + end:
        raise _Fault("the path leads beyond the end of a list")
    return int(key)


def _get(holder: Any, key: str) -> Any:
    if not isinstance(holder, dict | list):
        raise _Fault("the path leads into a value that holds nothing")
    place = _index(holder, key)
    if isinstance(holder, dict) and place not in holder:
        raise _Fault(f"there is no member {key!r}")
    return holder[place]


def _add(root: list[Any], path: Sequence[str], value: Any) -> None:
    _check_depth(path, value)
    holder, key = _place(root, path)
    if holder is root:
        root[0] = value
    elif isinstance(holder, dict):
        holder[key] = value
    else:
        holder.insert(_index(holder, key, end=True), value)


def _remove(root: list[Any], path: Sequence[str]) -> Any:
    holder, key = _place(root, path)
    value = _get(holder, key)
    if holder is root:
        root[0] = None
    else:
        del holder[_index(holder, key)]
    return value


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    return type(left) is type(right) and bool(left == right)
