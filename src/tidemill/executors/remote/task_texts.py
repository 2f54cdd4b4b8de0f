"""What is the same for all attempts of a task of one version, made once: its text for a worker, and its bundle."""

from __future__ import annotations

from pathlib import Path

from tidemill.executors.remote.bundle import Bundle, Bundles
from tidemill.executors.remote.request import Limits, encode_task
from tidemill.runs.attempts import Attempt

__all__ = ["TaskTexts"]

#: Tasks whose texts are kept.
_TASKS = 4096


class TaskTexts:
    """Texts of tasks; see `request.encode_task`."""

    def __init__(self, limits: Limits, root: Path | None, *, sets_environment: bool) -> None:
        self._limits = limits
        self._sets_environment = sets_environment
        self._bundles = Bundles(root)
        #: By DAG, version and node.
        self._made: dict[tuple[str, str, int], tuple[bytes, Bundle]] = {}

    def of(self, attempt: Attempt) -> tuple[bytes, Bundle]:
        """The text and the bundle of the attempt's task; raises what encoding it raises."""
        key = (attempt.dag.dag_id, attempt.dag.version, attempt.node.index)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _TASKS:
                self._made.clear()
            bundle = self._bundles.of(attempt.dag)
            task = encode_task(attempt, self._limits, bundle=bundle, sets_environment=self._sets_environment)
            found = self._made[key] = (task, bundle)
        return found

    def forget(self) -> None:
        """The modules beside the files may be others from now on."""
        self._bundles.forget()
        self._made.clear()
