"""What decides how long a run takes, or took: critical path, slack, waiting, bottlenecks, and when it ends. Pure.

Times are seconds from the start of the run. What has happened counts as it was; what is still to come counts as it was
learned: running attempts need what is left of it, tasks that wait need all of it, the task runs of a map as many turns
as its limit asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.runs.durations import DEFAULT_SECONDS
from tidemill.runs.outlook import Outlook, width_of
from tidemill.runs.progress import RunProgress, TaskProgress
from tidemill.runs.state import TaskState

__all__ = ["Analysis", "Bottleneck", "PathStep", "TaskAnalysis", "analyse"]

#: Tasks of the critical path for which it is worked out what they cost.
_WEIGHED = 50
_BOTTLENECKS = 10
#: Below this share of the whole nothing is worth naming.
_WORTH = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnalysis:
    """One task in the run."""

    task: str
    #: None: it did not run.
    state: TaskState | None
    starts: float
    ends: float
    #: From the end of what it waited for to its start, and to its end.
    waiting: float
    working: float
    retry_waiting: float
    expected: float | None
    is_known: bool
    slack: float
    is_critical: bool
    total: int
    done: int


@dataclass(frozen=True, slots=True)
class PathStep:
    """One task of the critical path."""

    task: str
    waiting: float
    working: float
    #: Of the whole run.
    share: float
    is_expected: bool


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What would shorten the run."""

    task: str
    #: "work", "queue", "retries" or "limit".
    kind: str
    #: How much shorter it would be without it, at the most.
    seconds: float
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What decides how long a run takes."""

    #: From its start to its end, or its expected end.
    length: float
    #: Until its end; None for a run that has ended or has not begun.
    remaining: float | None
    #: Sum over all task runs: attempts, and waiting for a slot before the first one of each task.
    working: float
    waiting: float
    #: Longest way, were nobody ever to wait for a slot.
    shortest: float
    critical_path: Sequence[PathStep]
    tasks: Sequence[TaskAnalysis]
    bottlenecks: Sequence[Bottleneck]


def analyse(progress: RunProgress, outlook: Outlook, *, now: int | None = None) -> Analysis:
    """What decides how long the run takes; `now` in microseconds, for a run that goes on.

    A run that has not begun, `progress` without rows, is analysed as it is expected to go.
    """
    return _Analyst(progress, outlook, now).analyse()


class _Analyst:
    def __init__(self, progress: RunProgress, outlook: Outlook, now: int | None) -> None:
        self._progress = progress
        self._outlook = outlook
        self._begun = progress.started_at
        self._is_live = self._begun is not None and not progress.has_ended
        end = progress.ended_at if progress.has_ended else now
        self._now = max(0.0, self._since(end)) if self._begun is not None and end is not None else 0.0
        self._tasks = list(progress.tasks.values())
        self._has_failed = any(task.failed for task in self._tasks)
        self._place = {task.task_id: place for place, task in enumerate(self._tasks)}
        self._upstream = [[self._place[one] for one in task.upstream] for task in self._tasks]
        self._ready = [0.0] * len(self._tasks)
        self._starts = [0.0] * len(self._tasks)
        self._ends = [0.0] * len(self._tasks)

    def _since(self, at: int) -> float:
        return (at - (self._begun or 0)) / 1e6

    def analyse(self) -> Analysis:
        for place in range(len(self._tasks)):
            self._place_task(place)
        length = max(self._ends, default=0.0)
        if self._progress.has_ended:
            length = max(length, self._now)
        slack = self._slack(length)
        path = self._path()
        is_critical = set(path)
        return Analysis(
            length=length,
            remaining=max(0.0, length - self._now) if self._is_live else None,
            working=sum(task.working for task in self._tasks) / 1e6 + self._running_now(),
            waiting=sum(self._waited(place) for place in range(len(self._tasks))),
            shortest=self._shortest(),
            critical_path=[self._step(place, length) for place in path],
            tasks=[
                self._task(place, slack[place], place in is_critical) for place in range(len(self._tasks))
            ],
            bottlenecks=self._bottlenecks(path, length),
        )

    # ── when ──

    def _place_task(self, place: int) -> None:
        task = self._tasks[place]
        ready = max((self._ends[one] for one in self._upstream[place]), default=0.0)
        if task.started_at is not None:
            start = self._since(task.started_at)
            ready = min(ready, start)  # a rule that does not wait for all
            end = start if task.ended_at is None else self._since(task.ended_at)
            if self._is_live and not task.is_done:
                end = max(end, self._now) + self._left(task)
        elif self._progress.has_ended or self._is_left_out(task):
            start = end = ready
        else:
            start = max(ready, self._now)
            ready = ready if self._upstream_ended(place) else start
            end = start + self._whole(task)
        self._ready[place], self._starts[place], self._ends[place] = ready, start, end

    def _upstream_ended(self, place: int) -> bool:
        return all(self._tasks[one].is_done for one in self._upstream[place])

    def _is_left_out(self, task: TaskProgress) -> bool:
        """Whether it runs only when something fails, and nothing has."""
        return task.task_id in self._outlook.exceptional and not self._has_failed

    def _expected(self, task: TaskProgress) -> float:
        return self._outlook.expected.get(task.task_id, DEFAULT_SECONDS)

    def _turns(self, task: TaskProgress, count: int) -> int:
        limit = self._outlook.limits.get(task.task_id)
        return 1 if limit is None or count <= limit else math.ceil(count / limit)

    def _whole(self, task: TaskProgress) -> float:
        count = width_of(task, self._outlook)
        return self._expected(task) * self._turns(task, count) if count else 0.0

    def _left(self, task: TaskProgress) -> float:
        """Expected time from now to its end: what is left of those that run, then those that have not begun."""
        left = 0.0
        for since in task.running.values():
            left = max(left, self._left_of(task, self._now - self._since(since)))
        for since, due_at in task.parked.values():
            if due_at is not None and task.task_id not in self._outlook.known:
                left = max(left, self._since(due_at) - self._now)
            else:
                left = max(left, self._left_of(task, self._now - self._since(since)))
        turns = self._turns(task, task.left) if task.left else 0
        return left + turns * self._expected(task) if turns else left

    def _left_of(self, task: TaskProgress, elapsed: float) -> float:
        """Of an attempt that has run for so long: the longer it has, the less is known of when it ends."""
        for expected in (self._expected(task), self._outlook.at_most.get(task.task_id, 0.0)):
            if elapsed < expected:
                return expected - elapsed
        return elapsed / 10

    def _running_now(self) -> float:
        if not self._is_live:
            return 0.0
        return sum(self._now - self._since(at) for task in self._tasks for at in task.running.values())

    # ── what decides ──

    def _waited(self, place: int) -> float:
        task = self._tasks[place]
        if task.started_at is None and not (
            self._is_live and self._upstream_ended(place) and not task.is_done
        ):
            return 0.0
        return max(0.0, self._starts[place] - self._ready[place])

    def _shortest(self) -> float:
        ends = [0.0] * len(self._tasks)
        for place, above in enumerate(self._upstream):
            start = max((ends[one] for one in above), default=0.0)
            ends[place] = start + self._ends[place] - self._starts[place]
        return max(ends, default=0.0)

    def _slack(self, length: float) -> list[float]:
        latest = [length] * len(self._tasks)
        for place in range(len(self._tasks) - 1, -1, -1):
            begin = latest[place] - (self._ends[place] - self._starts[place])
            for one in self._upstream[place]:
                latest[one] = min(latest[one], begin)
        return [max(0.0, end - self._ends[place]) for place, end in enumerate(latest)]

    def _path(self) -> list[int]:
        if not self._ends:
            return []
        path = [max(range(len(self._ends)), key=lambda one: (self._ends[one], -one))]
        while above := self._upstream[path[-1]]:
            path.append(max(above, key=lambda one: (self._ends[one], -one)))
        return [
            place
            for place in reversed(path)
            if self._ends[place] > self._starts[place] or self._waited(place)
        ]

    def _step(self, place: int, length: float) -> PathStep:
        working = self._ends[place] - self._starts[place]
        waiting = max(0.0, self._starts[place] - self._ready[place])
        share = (waiting + working) / length if length else 0.0
        is_expected = not self._tasks[place].is_done
        return PathStep(self._tasks[place].task_id, waiting, working, share, is_expected)

    def _task(self, place: int, slack: float, is_critical: bool) -> TaskAnalysis:
        task = self._tasks[place]
        return TaskAnalysis(
            task=task.task_id,
            state=task.state(has_ended=self._progress.has_ended),
            starts=self._starts[place],
            ends=self._ends[place],
            waiting=self._waited(place),
            working=task.working / 1e6,
            retry_waiting=task.retry_waiting / 1e6,
            expected=self._outlook.expected.get(task.task_id),
            is_known=task.task_id in self._outlook.known,
            slack=slack,
            is_critical=is_critical,
            total=width_of(task, self._outlook),
            done=task.done,
        )

    # ── what would help ──

    def _bottlenecks(self, path: Sequence[int], length: float) -> list[Bottleneck]:
        found: list[Bottleneck] = []
        heavy = sorted(path, key=lambda one: self._starts[one] - self._ends[one])[:_WEIGHED]
        for place in heavy:
            found.extend(self._costs(place, length))
        for place in path:
            name, waited = self._tasks[place].task_id, self._waited(place)
            advice = f"{name} was ready {_told(waited)} before it started: more slots, or fewer others at that time"
            found.append(Bottleneck(name, "queue", waited, advice))
        worth = [one for one in found if one.seconds > max(_WORTH * length, 1e-6)]
        return sorted(worth, key=lambda one: (-one.seconds, one.task, one.kind))[:_BOTTLENECKS]

    def _costs(self, place: int, length: float) -> list[Bottleneck]:
        task = self._tasks[place]
        name, whole = task.task_id, self._ends[place] - self._starts[place]
        gain = length - self._length_without(place, whole)
        half = _told(self._half(place, length))
        advice = f"without {name} the run would be {_told(gain)} shorter; if it took half the time, {half}"
        found = [Bottleneck(name, "work", gain, advice)]
        retried = min(task.retry_waiting / 1e6, whole)
        if retried and not task.is_map:
            saved = length - self._length_without(place, retried)
            found.append(
                Bottleneck(name, "retries", saved, f"{name} waited {_told(retried)} between its attempts")
            )
        count = width_of(task, self._outlook)
        if count > 1 and (turns := self._turns(task, count)) > 1:
            saved = length - self._length_without(place, whole * (1 - 1 / turns))
            limit = self._outlook.limits[name]
            advice = f"{count} task runs of {name} go {limit} at a time: a higher limit, or more slots"
            found.append(Bottleneck(name, "limit", saved, advice))
        return found

    def _half(self, place: int, length: float) -> float:
        return length - self._length_without(place, (self._ends[place] - self._starts[place]) / 2)

    def _length_without(self, changed: int, seconds: float) -> float:
        """The run's length were one task shorter by `seconds`, everybody waiting for slots as they did."""
        ends = [0.0] * len(self._tasks)
        for place, above in enumerate(self._upstream):
            ready = max((ends[one] for one in above), default=0.0)
            whole = self._ends[place] - self._ready[place] - (seconds if place == changed else 0.0)
            ends[place] = ready + max(0.0, whole)
        return max(ends, default=0.0)


def _told(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
