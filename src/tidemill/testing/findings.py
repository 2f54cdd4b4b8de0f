"""What a test finds in a harness: runs, events, deliveries; and what it expects there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.events.event import Event
from tidemill.runs.view import decode_graph, task_views
from tidemill.storage.contract import DeadLetter, Disposition, RunFilter, RunSummary
from tidemill.testing.histories import compare_history, describe
from tidemill.testing.receivers import Delivered
from tidemill.testing.senders import Senders
from tidemill.testing.views import RunView

__all__ = ["Findings"]

_ALL = 1_000_000
#: Runs whose histories a message shows.
_SHOWN = 5
_COMPLETED = ("dev.tidemill.run.succeeded.v1", "dev.tidemill.run.failed.v1", "dev.tidemill.run.cancelled.v1")
_NOTHING: Any = object()


class Findings(Senders):
    """See `Harness`."""

    # ── looking ──

    async def run(self, run: str) -> RunView:
        """A run with its tasks."""
        return await self._view(await self._summary(run))

    async def runs(self, dag: str | None = None, *, state: str | None = None) -> list[RunSummary]:
        """Runs, oldest first."""
        found = await self.store.runs.list(RunFilter(dag=dag, state=state), before=None, limit=_ALL)
        return found[::-1]

    async def events(self, *, type: str | None = None) -> list[Event]:  # noqa: A002 - the attribute's own name
        """Events of the log in order, sent ones and our own."""
        found = await self.store.log.read(0, _ALL)
        return [logged.event for logged in found if type in (None, logged.event.type)]

    async def completions(
        self,
        *,
        dag: str | None = None,
        type: str | None = None,  # noqa: A002 - the attribute's own name
    ) -> list[Event]:
        """The events that say that a run has ended, in order."""
        return [
            event
            for event in await self.events(type=type)
            if event.type in _COMPLETED and dag in (None, event.data["dag"])
        ]

    async def deliveries(self, subscription: str, *, accepted: bool | None = None) -> list[Delivered]:
        """What the receiver of a subscription got, in order, refused attempts included unless `accepted`."""
        got = self._receiver(subscription).got
        return [one for one in got if accepted in (None, one.is_accepted)]

    async def dispositions(self, position: int) -> list[Disposition]:
        """What became of the event at `position`, per trigger that matched it."""
        return await self.store.runs.dispositions(position)

    async def dead_letters(self) -> list[DeadLetter]:
        """What could not go on, oldest first."""
        return (await self.store.dead_letters.list(stage=None, before=None, limit=_ALL))[::-1]

    # ── expecting ──

    async def expect_run(
        self,
        dag: str,
        *,
        state: str | None = "succeeded",
        result: Any = _NOTHING,
        parameters: Mapping[str, Any] | None = None,
        attempts: Mapping[str, int] | None = None,
        states: Mapping[str, str] | None = None,
    ) -> RunView:
        """The one run of `dag` that is as said; an `AssertionError` that shows histories when there is not just one.

        `result` is the run's own (what its DAG returns), `attempts` and `states` are by task and may leave tasks out.
        """
        found = await self.expect_runs(
            dag, 1, state=state, result=result, parameters=parameters, attempts=attempts, states=states
        )
        return found[0]

    async def expect_runs(
        self,
        dag: str,
        count: int,
        *,
        state: str | None = "succeeded",
        result: Any = _NOTHING,
        parameters: Mapping[str, Any] | None = None,
        attempts: Mapping[str, int] | None = None,
        states: Mapping[str, str] | None = None,
    ) -> list[RunView]:
        """The `count` runs of `dag` that are as said, oldest first; see `expect_run`."""
        views = [await self._view(summary) for summary in await self.runs(dag)]
        ends = {event.subject: event.data for event in await self.completions(dag=dag)}
        wanted = {
            "state": state,
            "result": result,
            "parameters": parameters,
            "attempts": attempts,
            "states": states,
        }
        fitting = [view for view in views if not _differs(view, ends.get(view.run_id, {}), wanted)]
        if len(fitting) != count:
            raise AssertionError(_missed(dag, count, len(fitting), wanted, views, ends))
        return fitting

    def compare_history(self, run: RunView, file: Path, *, update: bool = False) -> None:
        """Hold a run's history to the snapshot in `file`; see the fixture `assert_history`."""
        compare_history(run.summary, run.history, file, update=update)

    async def _view(self, summary: RunSummary) -> RunView:
        history = await self.store.runs.history(summary.run_id)
        kept = await self.store.runs.version(summary.dag, summary.version)
        graph = decode_graph(b"[]" if kept is None else kept[2])
        return RunView(summary, {view.task_id: view for view in task_views(graph, history)}, tuple(history))


def _differs(view: RunView, end: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a run is not as said."""
    return (
        wanted["state"] not in (None, view.state)
        or (wanted["result"] is not _NOTHING and end.get("result", _NOTHING) != wanted["result"])
        or (wanted["parameters"] is not None and view.parameters != wanted["parameters"])
        or _are_not(wanted["attempts"], {name: task.attempts for name, task in view.tasks.items()})
        or _are_not(wanted["states"], view.states)
    )


def _are_not(wanted: Mapping[str, Any] | None, found: Mapping[str, Any]) -> bool:
    return wanted is not None and any(found.get(name) != value for name, value in wanted.items())


def _missed(
    dag: str,
    count: int,
    fitting: int,
    wanted: Mapping[str, Any],
    views: list[RunView],
    ends: Mapping[str | None, Mapping[str, Any]],
) -> str:
    said = ", ".join(
        f"{name} {value!r}" for name, value in wanted.items() if value is not _NOTHING and value is not None
    )
    lines = [f"expected {count} {'run' if count == 1 else 'runs'} of {dag} with {said}; there are {fitting}"]
    for view in views[-_SHOWN:]:
        end = ends.get(view.run_id)
        lines.append(describe(view.summary, view.history))
        if end is not None and "result" in end:
            lines.append(f"  result {end['result']!r}")
    if len(views) > _SHOWN:
        lines.insert(1, f"(the last {_SHOWN} of {len(views)} runs of {dag})")
    if not views:
        lines.append(f"there is no run of {dag}")
    return "\n".join(lines)
