"""Kinds of sources that installed packages bring, found by entry point; what a plug-in must have is said here.

A package is imported only when a definition names its kind: what is installed and not used costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, Protocol

from pydantic import BaseModel

from tidemill.project.entry import suggestion

__all__ = ["GROUP", "PluginProblem", "SourcePlugin", "load_source_plugin"]

#: The group of entry points; an entry point's name is the kind.
GROUP = "tidemill.sources"


class SourcePlugin(Protocol):
    """One kind of source; `tidemill.sources.plugin` has the class that packages make theirs of."""

    @property
    def model(self) -> type[BaseModel]:
        """Checks what stands under `config`."""

    @property
    def build(self) -> Callable[..., Any]:
        """`build(name, config, surroundings)` makes the source."""


class PluginProblem(ValueError):  # noqa: N818 - like MappingProblem
    """A kind that cannot be used; the message says why and what to do."""


def load_source_plugin(kind: str) -> SourcePlugin:
    """The plug-in of that kind; raises `PluginProblem` where there is none that works."""
    found = metadata.entry_points(group=GROUP)
    matching = [each for each in found if each.name == kind]
    if not matching:
        known = sorted({each.name for each in found})
        hint = suggestion(kind, known) or (f"; installed are {', '.join(known)}" if known else "")
        raise PluginProblem(f"no installed package brings sources of the kind {kind!r}{hint}")
    if len({each.value for each in matching}) > 1:
        places = ", ".join(sorted(each.value for each in matching))
        raise PluginProblem(f"several packages bring sources of the kind {kind!r}: {places}")
    try:
        plugin = matching[0].load()
    except Exception as error:  # a package may fail in any way when it is imported
        raise PluginProblem(f"{matching[0].value} cannot be imported: {error!r}") from error
    model, build = getattr(plugin, "model", None), getattr(plugin, "build", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel) and callable(build)):
        raise PluginProblem(f"{matching[0].value} is no SourcePlugin: it needs a pydantic model and build()")
    usable: SourcePlugin = plugin
    return usable
