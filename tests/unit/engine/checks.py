"""What must be true of a store whatever happened to the processes that wrote it."""

from __future__ import annotations

from collections import Counter

from tidemill.runs.records import RunEnded, RunStarted, TaskStarted, TaskSucceeded
from tidemill.testing.harness import Harness

__all__ = ["check_store"]

COMPLETIONS = {f"dev.tidemill.run.{state}.v1": state for state in ("succeeded", "failed", "cancelled")}


async def check_store(harness: Harness, *, ended: int | None = None) -> None:
    """Histories without gaps, summaries that agree with them, one completion event per run that ended.

    `ended`: so many runs there are, and every one has ended.
    """
    runs = await harness.runs()
    completions = Counter(
        (event.subject, COMPLETIONS[event.type])
        for event in await harness.events()
        if event.type in COMPLETIONS
    )
    for summary in runs:
        run = await harness.run(summary.run_id)
        assert [sequence for sequence, _, _ in run.history] == list(range(len(run.history)))
        started = [at for _, at, body in run.history if b"run_started" in body]
        assert started == ([] if summary.started_at is None else [summary.started_at])
        ends = [record for record in run.records if isinstance(record, RunEnded)]
        assert [end.state for end in ends] == ([run.state] if summary.ended_at is not None else [])
        if ends:
            assert run.history[-1][1] == summary.ended_at
            assert completions.pop((summary.run_id, run.state)) == 1
        _check_attempts(run.records)
    assert not completions, "completion events of runs that have not ended so"
    if ended is not None:
        assert (len(runs), sum(run.ended_at is not None for run in runs)) == (ended, ended)


def _check_attempts(records: list[object]) -> None:
    attempts: Counter[str] = Counter()
    succeeded: set[str] = set()
    for place, record in enumerate(records):
        match record:
            case RunStarted():
                assert place == 0
            case TaskStarted(task, attempt):
                assert task not in succeeded, "a recorded task was started again"
                attempts[task] += 1
                assert attempt == attempts[task]
            case TaskSucceeded(task, _, _):
                assert task not in succeeded
                succeeded.add(task)
