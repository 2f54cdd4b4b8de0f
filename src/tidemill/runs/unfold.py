"""How a run goes on where its graph is more than plain: trigger rules, edges of other kinds, branches, maps, teardowns.

Part of the fold: changes a `RunState` by what has just been recorded, and by nothing else.

1. An upstream task counts for the one below as its edge says (`_counted`), and what the counts come to is the trigger
   rule's to say (`rules.verdict`).
2. What cannot be folded, because somebody has to look at results (conditions, lists to be mapped), is noted in
   `Unfolding.undecided` and `openings`; `decide` answers with records.
3. The task runs of a map are told of one by one; the tasks below hear of the map once, when its last one has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Container

import orjson

from tidemill.dag.definition import NodeKind, TaskNode
from tidemill.dag.edges import EdgeKind
from tidemill.dag.policy import TriggerRule
from tidemill.runs.maps import MapRuns, required_successes
from tidemill.runs.records import (
    DependencyDecided,
    Failure,
    Record,
    TaskExpanded,
    TasksSpawned,
)
from tidemill.runs.rules import Counted, Tally, Verdict, verdict
from tidemill.runs.state import FINAL_TASK_STATES, RunPhase, RunState, TaskState, Unfolding

__all__ = [
    "branch_problem",
    "consider_teardowns",
    "decide_dependency",
    "expand",
    "kept_teardowns",
    "only_waits",
    "spawn",
    "start",
    "task_ended",
]

_COUNTED = {
    TaskState.SUCCEEDED: Counted.SUCCESS,
    TaskState.FAILED: Counted.FAILED,
    TaskState.CANCELLED: Counted.FAILED,
    TaskState.UPSTREAM_FAILED: Counted.UPSTREAM_FAILED,
    TaskState.SKIPPED: Counted.SKIPPED,
}
_VERDICTS = {Verdict.SKIP: TaskState.SKIPPED, Verdict.UPSTREAM_FAILED: TaskState.UPSTREAM_FAILED}


def start(state: RunState) -> None:
    """The run has begun: what waits for nothing may start."""
    for node in state.dag.tasks:
        if not node.upstream or (node.rule is TriggerRule.ALWAYS and not node.is_teardown):
            _open(state, node.index)


def only_waits(state: RunState) -> bool:
    """Whether everything that is left of the run waits for a time, an event or people."""
    known = state.unfolding
    return known is not None and bool(known.waits) and not known.busy and not known.undecided


def task_ended(state: RunState, index: int, record: Record) -> None:
    """A task run has reached a final state: what follows for its map, and for the tasks below."""
    if state.dag.waits:
        _known(state).waits.pop(index, None)
    if index < len(state.dag.tasks):
        _settle(state, index, record)
    else:
        _end_task_run(state, index, record)


def decide_dependency(state: RunState, pair: tuple[int, int], record: DependencyDecided) -> None:
    """The condition between two tasks was asked."""
    below, _above = pair
    _known(state).undecided.remove(pair)
    if state.tasks[below] is not TaskState.PENDING:
        return
    if record.error:
        state.unhappy = True
        state.errors[below] = Failure("ConditionFailed", record.error)
    counted = Counted.FAILED if record.error else Counted.SUCCESS if record.holds else Counted.SKIPPED
    if _count(state, below, counted, record):
        _settle(state, below, record)


def branch_problem(node: TaskNode, result: bytes, names: Collection[str]) -> str | None:
    """Why a branch's result does not say which tasks go on; `names` are those of the tasks right below."""
    chosen = orjson.loads(result)
    listed = [] if chosen is None else chosen if isinstance(chosen, list) else [chosen]
    for one in listed:
        if not isinstance(one, str) or _whole(node, one, names) not in names:
            known = ", ".join(sorted(names)) or "none"
            return f"it chose {one!r}, which is not right below {node.task_id!r} ({known})"[:1000]
    return None


# ── edges and rules ───────────────────────────────────────────────────────────────────────────────────────


def _settle(state: RunState, ended: int, record: Record) -> None:
    """A node has reached a final state: what follows below, and below that."""
    stack = [ended]
    while stack:
        above = stack.pop()
        node = state.dag.tasks[above]
        followed = _followed(state, node)
        for below in node.downstream:
            if state.tasks[below] is not TaskState.PENDING:
                continue
            if state.dag.tasks[below].is_teardown:
                if _consider_teardown(state, below, record):
                    stack.append(below)
                continue
            counted = _counted(state, above, below, followed)
            if counted is None:
                _known(state).undecided.append((below, above))
            elif _count(state, below, counted, record):
                stack.append(below)


def _counted(state: RunState, above: int, below: int, followed: Collection[int] | None) -> Counted | None:
    """What an upstream task that has ended counts as; None while a condition has to be asked."""
    counted = _COUNTED[state.tasks[above]]
    if counted is Counted.SUCCESS and followed is not None and below not in followed:
        return Counted.SKIPPED
    edge = state.dag.tasks[below].edges.get(above)
    if edge is None:
        return counted
    match edge.kind:
        case EdgeKind.COMPLETION:
            return Counted.SUCCESS
        case EdgeKind.FAILURE:
            has_failed = counted in (Counted.FAILED, Counted.UPSTREAM_FAILED)
            return Counted.SUCCESS if has_failed else Counted.SKIPPED
        case EdgeKind.CONDITION if counted is Counted.SUCCESS:
            return None
    return counted


def _count(state: RunState, below: int, counted: Counted, record: Record) -> bool:
    """Count an upstream task; True when the task below has ended by that without having started."""
    known, node = _known(state), state.dag.tasks[below]
    tally = known.tallies.get(below)
    if tally is None:
        tally = known.tallies[below] = Tally(len(node.upstream))
    tally.count(counted)
    found = verdict(node.rule, tally) if node.fate is None else _fate(state, node, tally)
    if found is None:
        return False
    known.tallies.pop(below, None)
    if found is Verdict.START:
        _open(state, below)
        return False
    state.move(below, _VERDICTS[found], record)
    return True


def _fate(state: RunState, node: TaskNode, tally: Tally) -> Verdict | None:
    if tally.done < tally.total:
        return None
    return Verdict.START if _has_failed(state, node) == (node.fate == "failure") else Verdict.SKIP


def _has_failed(state: RunState, node: TaskNode) -> bool:
    """Whether what a task's `fate` speaks of has failed; everything above it has ended."""
    failed = (TaskState.FAILED, TaskState.UPSTREAM_FAILED)
    return any(state.tasks[one] in failed for one in node.fate_of or node.upstream)


def _followed(state: RunState, node: TaskNode) -> Collection[int] | None:
    """The tasks right below that a branch lets go on; None where all do."""
    if node.kind in (NodeKind.TASK, NodeKind.WAIT) or state.tasks[node.index] is not TaskState.SUCCEEDED:
        return None
    result = orjson.loads(state.results[node.index])
    if node.kind is NodeKind.SHORT_CIRCUIT:
        return None if result else ()
    names = [] if result is None else result if isinstance(result, list) else [result]
    chosen = {state.dag.index[_whole(node, name, state.dag.index)] for name in names}
    # What a chosen task leads to is not skipped by the branch: joins stand right below it, too.
    pending, reached = list(chosen), set(chosen)
    while pending:
        for below in state.dag.tasks[pending.pop()].downstream:
            if below not in reached:
                reached.add(below)
                pending.append(below)
    return reached


def _whole(node: TaskNode, name: str, names: Container[str]) -> str:
    """The whole id of a task that a branch names as its own group does."""
    prefix = node.task_id
    while name not in names and (prefix := prefix.rpartition(".")[0]):
        if f"{prefix}.{name}" in names:
            return f"{prefix}.{name}"
    return name


def _open(state: RunState, index: int) -> None:
    """A task's upstream is as it must be."""
    state.tasks[index] = TaskState.READY
    _known(state).busy += 1
    if state.dag.tasks[index].mapped is None:
        state.ready.append(index)
    else:
        _known(state).openings.append(index)


# ── teardowns ─────────────────────────────────────────────────────────────────────────────────────────────


def kept_teardowns(state: RunState) -> set[int]:
    """Teardowns that go on although the run is cancelled: it has begun, and what they undo was done, or may yet be."""
    if state.phase is RunPhase.QUEUED:
        return set()
    may_be_done = (TaskState.SUCCEEDED, TaskState.RUNNING)
    return {
        index
        for index in state.dag.teardowns
        if all(state.tasks[setup] in may_be_done for setup in state.dag.tasks[index].setups)
    }


def consider_teardowns(state: RunState, record: Record) -> None:
    """The run was cancelled: teardowns above which nothing runs any more may start."""
    for index in state.dag.teardowns:
        if state.tasks[index] is TaskState.PENDING and _consider_teardown(state, index, record):
            _settle(state, index, record)


def _consider_teardown(state: RunState, index: int, record: Record) -> bool:
    """Start a teardown once everything above has ended; True when there is nothing to undo, and it has ended."""
    if any(state.tasks[above] not in FINAL_TASK_STATES for above in state.dag.tasks[index].upstream):
        return False
    node = state.dag.tasks[index]
    # What undoes something does so when the rest has failed, or will never come.
    is_wanted = node.fate is None or state.cancelling or _has_failed(state, node)
    if is_wanted and _has_work(state, index):
        _open(state, index)
        return False
    state.move(index, TaskState.SKIPPED, record)
    return True


def _has_work(state: RunState, index: int) -> bool:
    return all(state.tasks[setup] is TaskState.SUCCEEDED for setup in state.dag.tasks[index].setups)


# ── maps ──────────────────────────────────────────────────────────────────────────────────────────────────


def expand(state: RunState, index: int, record: TaskExpanded) -> None:
    """The number of a mapped task's runs is known: the first ones may start."""
    known, node = _known(state), state.dag.tasks[index]
    known.openings.remove(index)
    state.move(index, TaskState.WAITING, record)
    runs = known.maps[index] = MapRuns(len(state.tasks), record.size, node.policy.max_active_per_run)
    _add_task_runs(state, index, 0, record.size)
    _release(state, runs)
    _end_map(state, index, runs, record)


def spawn(state: RunState, index: int, record: TasksSpawned) -> None:
    """A task asks for further task runs: they start with the others of their task, or join those that have."""
    known = _known(state)
    texts = [orjson.dumps(one) for one in orjson.loads(record.arguments)]
    known.spawned.setdefault(index, []).extend(texts)
    runs = known.maps.get(index)
    if runs is not None:
        first = runs.total
        runs.grow(len(state.tasks), len(texts))
        _add_task_runs(state, index, first, len(texts))
        _release(state, runs)


def _add_task_runs(state: RunState, owner: int, first: int, count: int) -> None:
    _known(state).add_range(owner, len(state.tasks), first)
    state.tasks.extend([TaskState.PENDING] * count)
    state.attempts.extend([0] * count)
    state.unfinished += count


def _release(state: RunState, runs: MapRuns) -> None:
    """Let task runs of a map start, as many as its window has room for."""
    known = _known(state)
    while runs.has_room:
        index = runs.index_at(runs.released)
        runs.released += 1
        if state.tasks[index] is TaskState.PENDING:  # else it was cancelled
            state.tasks[index] = TaskState.READY
            known.busy += 1
            state.ready.append(index)


def _end_task_run(state: RunState, index: int, record: Record) -> None:
    owner, place = state.place(index)
    runs = _known(state).maps[owner]
    runs.done += 1
    match state.tasks[index]:
        case TaskState.SUCCEEDED:
            runs.succeeded += 1
        case TaskState.SKIPPED:
            runs.skipped += 1
        case TaskState.FAILED:
            runs.failed += 1
            if runs.first_failed is None:
                runs.first_failed = place
        case _:
            pass
    if state.tasks[owner] in FINAL_TASK_STATES:
        return  # cancelled
    _release(state, runs)
    _end_map(state, owner, runs, record)


def _end_map(state: RunState, owner: int, runs: MapRuns, record: Record) -> None:
    """What becomes of a mapped task, once its last task run has ended."""
    if runs.done < runs.total:
        return
    node = state.dag.tasks[owner]
    needed = required_successes(node, runs.total)
    if (runs.failed and needed is None) or (needed is not None and runs.succeeded < needed):
        state.errors[owner] = _map_failure(state, owner, runs, needed)
        state.unhappy = True
        state.move(owner, TaskState.FAILED, record)
    elif runs.total and runs.skipped == runs.total:
        state.move(owner, TaskState.SKIPPED, record)
    else:
        joined = b",".join([state.results.pop(index, b"null") for index in runs.indexes()])
        state.results[owner] = b"[" + joined + b"]"
        state.move(owner, TaskState.SUCCEEDED, record)
    for index in runs.indexes():
        state.results.pop(index, None)
    _settle(state, owner, record)


def _map_failure(state: RunState, owner: int, runs: MapRuns, needed: int | None) -> Failure:
    text = f"{runs.failed} of {runs.total} task runs failed"
    if needed is not None:
        text = f"{runs.succeeded} of {runs.total} task runs succeeded and min_success asks for {needed}"
    if runs.first_failed is not None:
        first = state.errors[runs.index_at(runs.first_failed)]
        text += f"; the first: {state.name(runs.index_at(runs.first_failed))}: {first.error_type}: {first.message}"
    return Failure("MapFailed", text[:4096])


def _known(state: RunState) -> Unfolding:
    found = state.unfolding
    assert found is not None  # noqa: S101 - only graphs that are more than plain get here
    return found
