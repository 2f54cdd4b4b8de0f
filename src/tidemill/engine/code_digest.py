"""What the code of a task is, as a hash: its own, and that of everything in the same file that it may come to.

1. Comments, layout and line numbers do not count; defaults, constants, functions, classes and values of the file that
   the function names do, however far away. What it imports does not: that is `Cache.version`'s to say.
2. Made from the code that was loaded, never from a file that may have changed since.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["code_digest"]

#: How the names begin that workflow files are loaded under.
_WORKFLOW = "tidemill_workflow_"
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))


def code_digest(function: Callable[..., Any]) -> str:
    """The hash, in hex; the same in every process that loads the same text with the same version of Python."""
    digest = hashlib.sha256()
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    seen: set[int] = set()
    pending: list[tuple[str, Any]] = [("", function)]
    while pending:
        name, value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        for part, names in _parts(value, scope):
            digest.update(f"{name}\0{part}\0".encode("utf-8", "surrogatepass"))
            pending += [(one, scope[one]) for one in sorted(names, reverse=True) if one in scope]
    return digest.hexdigest()


def _parts(value: Any, scope: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """What counts of a value, and the names that it uses."""
    decorated = getattr(value, "function", None)  # a task that is called as the function that it is
    match decorated if isinstance(decorated, FunctionType) else value:
        case FunctionType() as found if inspect.unwrap(found).__globals__ is scope:
            yield from _function(inspect.unwrap(found))
        case type() as found if found.__module__ == scope.get("__name__"):
            for name, member in sorted(vars(found).items()):
                inner = inspect.unwrap(getattr(member, "__func__", getattr(member, "fget", None) or member))
                if isinstance(inner, FunctionType):
                    yield from ((f"{name}:{part}", names) for part, names in _function(inner))
                elif name == "__annotations__" or not name.startswith("__"):
                    yield f"{name}={_constant(member)}", set()
            yield repr([base.__qualname__ for base in found.__bases__]), {b.__name__ for b in found.__bases__}
        case FunctionType() | type() as found:
            yield f"{found.__module__}.{found.__qualname__}", set()
        case ModuleType() as found:
            yield found.__name__, set()
        case found:
            yield _constant(found), set()


def _function(function: FunctionType) -> Iterator[tuple[str, set[str]]]:
    yield from _code(function.__code__)
    yield f"{_constant(function.__defaults__)}{_constant(function.__kwdefaults__)}", set()
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if isinstance(inner, FunctionType):
            yield from _function(inner)
        else:
            yield _constant(inner), set()


def _code(code: CodeType) -> Iterator[tuple[str, set[str]]]:
    yield code.co_code.hex() + code.co_exceptiontable.hex(), set(code.co_names)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    yield repr((*names, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)), set()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield _constant(constant), set()


def _constant(value: Any) -> str:
    """A text that is the same for the same value in every process."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(_constant, value))})"
    if isinstance(value, set | frozenset):
        return f"set({','.join(sorted(map(_constant, value)))})"
    if isinstance(value, dict):
        return f"dict({','.join(f'{_constant(key)}:{_constant(one)}' for key, one in value.items())})"
    kind = value if isinstance(value, type) else type(value)
    # Workflow files are loaded under names of their own that change with every edit.
    module = "" if kind.__module__.startswith(_WORKFLOW) else kind.__module__
    return f"<{module}.{kind.__qualname__}>"
