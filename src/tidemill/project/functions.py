"""Functions that definitions name as `module:function`, taken from the workflows folder."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from tidemill.dag import raised
from tidemill.events.event import JSON
from tidemill.project.workflows import FOLDER, load_module

__all__ = ["FunctionProblem", "check_call", "load_function"]

_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)\Z")


class FunctionProblem(ValueError):  # noqa: N818 - named as `Problem` is
    """A function that cannot be used; the message says why."""


def load_function(root: Path, reference: str) -> Callable[..., Awaitable[JSON]]:
    """The coroutine function that `reference` names; raises `FunctionProblem`.

    Executes the module-level code of its file.
    """
    found = _REFERENCE.match(reference)
    if found is None:
        raise FunctionProblem(f"{reference!r} is no function; write MODULE:FUNCTION, of the {FOLDER} folder")
    module, name = found.groups()
    try:
        loaded = load_module(root, module)
    except ModuleNotFoundError as error:
        raise FunctionProblem(f"there is no module {error.name!r} in {FOLDER}/") from None
    except (Exception, SystemExit) as error:
        raise FunctionProblem(f"importing {module!r} raised {raised.describe(error)}") from error
    if Path(getattr(loaded, "__file__", None) or "/").is_relative_to((root / FOLDER).absolute()) is False:
        raise FunctionProblem(f"module {module!r} is not in {FOLDER}/")
    function = getattr(loaded, name, None)
    if function is None:
        raise FunctionProblem(f"{module!r} has no function {name!r}")
    if not inspect.iscoroutinefunction(function):
        raise FunctionProblem(f"{reference!r} is not declared with async def")
    return function  # type: ignore[no-any-return]


def check_call(function: Callable[..., object], arguments: Collection[str]) -> str | None:
    """Why `function` cannot be called with these named arguments; None when it can."""
    try:
        inspect.signature(function).bind(**dict.fromkeys(arguments))
    except TypeError as error:
        return str(error)
    return None
