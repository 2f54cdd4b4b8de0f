"""What a run returns, made of its tasks' results; no task sees what another one changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tidemill.dag.binding import ResultRef, resolve_output
from tidemill.errors import TaskFailed
from tidemill.runs.state import RunState

__all__ = ["Results", "output_problem", "run_output"]


class Results(Mapping[int, Any]):
    """Results decoded anew for each reader, so that no task sees what another one changed; null where none is."""

    __slots__ = ("_texts",)

    def __init__(self, texts: dict[int, bytes]) -> None:
        self._texts = texts

    def __getitem__(self, index: int) -> Any:
        text = self._texts.get(index)
        return None if text is None else orjson.loads(text)

    def __iter__(self) -> Iterator[int]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def run_output(state: RunState) -> bytes | None:
    """What the DAG function returned, as JSON text, once every task has succeeded; None when it returned nothing."""
    match state.dag.output:
        case None:
            return None
        case ResultRef(index=index, path=()):
            return state.results.get(index, b"null")
    return orjson.dumps(resolve_output(state.dag, Results(state.results), orjson.loads(state.parameters)))


def output_problem(state: RunState) -> str | None:
    """Why the output cannot be made (it refers to what a result does not have), None when it can."""
    try:
        run_output(state)
    except TaskFailed as error:
        return f"the run's result cannot be made: {error.message}"
    except Exception as error:  # whatever constants of the user's own types raise
        return f"the run's result cannot be made: {error}"
    return None
