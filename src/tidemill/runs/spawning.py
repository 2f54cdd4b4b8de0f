"""What a task asks to be added to its run while it runs: collected in the attempt, recorded with its success. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tidemill.dag.definition import Dag, TaskNode

__all__ = ["Spawned"]


class Spawned:
    """The task runs that one attempt asks for; called as `Context.spawn` calls it, from any thread."""

    __slots__ = ("_templates", "calls")

    def __init__(self, dag: Dag, node: TaskNode) -> None:
        #: By the user's function.
        self._templates = {dag.tasks[one].function: dag.tasks[one].task_id for one in node.spawns}
        #: (task, arguments as JSON text), in order.
        self.calls: list[tuple[str, bytes]] = []

    def __call__(self, task: Any, arguments: Mapping[str, Any]) -> None:
        """Ask for one; raises `TypeError` for a task that is not in `spawns=`, and for what does not fit it."""
        name = self._templates.get(getattr(task, "function", task))
        if name is None:
            known = ", ".join(sorted(self._templates.values())) or "none"
            raise TypeError(f"{task!r} is not in spawns= of this task (there are: {known})")
        bind = getattr(task, "bind", None)
        if bind is not None:
            bind((), arguments)
        self.calls.append((name, orjson.dumps(dict(arguments))))
