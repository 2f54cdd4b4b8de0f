"""Graphs that grow while they run: maps whose items are known now, and task runs that a task asked for."""

from __future__ import annotations

from tidemill.engine.live import LiveRun
from tidemill.errors import TaskFailed
from tidemill.runs import decide
from tidemill.runs.attempts import Outcome
from tidemill.runs.records import Failure

__all__ = ["expand", "spawn"]

_MESSAGE = 4096


def expand(live: LiveRun, at: int, *, most: int) -> None:
    """Mapped tasks whose turn has come are called for each of their items, at most `most`; all of them are settled."""
    state = live.state
    assert state.unfolding is not None  # noqa: S101 - plain graphs have no maps
    while state.unfolding.openings:
        index = state.unfolding.openings[0]
        decide.expand(state, index, _count(live, index, most), at, live.records)
    live.forget_items()


def spawn(live: LiveRun, outcome: Outcome, at: int, *, most: int) -> None:
    """An attempt that returned asks for further task runs; it has failed where a task would have more than `most`."""
    state = live.state
    assert state.unfolding is not None  # noqa: S101 - graphs with such tasks are more than plain
    names = [name for name, _ in outcome.spawned]
    for name in dict.fromkeys(names):
        count = names.count(name) + len(state.unfolding.spawned.get(state.dag.index[name], ()))
        if count > most:
            failure = Failure("MapTooLong", f"{name} would have {_too_many(count, most)}")
            decide.attempt_failed(state, outcome.index, failure, at, live.records, permanent=True)
            return
    decide.attempt_succeeded(state, outcome.index, outcome.result, at, live.records, spawned=outcome.spawned)


def _count(live: LiveRun, index: int, most: int) -> int | Failure:
    try:
        count = live.items(index).count
    except TaskFailed as error:
        return Failure(error.error_type, error.message)
    except Exception as error:  # types of the user's own parameters may raise anything
        return Failure(type(error).__name__, str(error)[:_MESSAGE])
    return count if count <= most else Failure("MapTooLong", f"it would have {_too_many(count, most)}")


def _too_many(count: int, most: int) -> str:
    return f"{count} task runs and max_map_length is {most}"
