"""Runs that only wait: nothing of them is in memory, and this wakes them when what they wait for is there.

1. A wait is a row from the transaction in which it begins to the one in which it ends (`storage/waits`). Whatever is
   told here in memory (a time, an event that was routed) only says when to look at the rows again.
2. The first event in the order of the log ends a wait. What was routed after the wait was on disk is told by the router
   (hits); what was routed before is looked for (`lookback`), and hits of that wait count only when that was done.
3. One page of runs is woken in a turn, and none while `max_live_runs` are live: a storm of wake-ups is a queue on disk.
4. The wall clock says when a time is up, and no end is recorded before that. Only where the clock was set back
   meanwhile, by more than one is that is kept right, a timer that rang is believed, and the clock's time is recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from tidemill.clock import Clock, Wakeup
from tidemill.dag.definition import Dag
from tidemill.dag.wait_spec import WaitKind
from tidemill.engine.live import LiveRun
from tidemill.engine.lookback import look_back
from tidemill.errors import StoreUnavailable
from tidemill.runs import decide, waits
from tidemill.runs.records import Failure
from tidemill.runs.state import RunPhase
from tidemill.runs.waits import Decision, Ended
from tidemill.storage.contract import (
    ApprovalState,
    DueWait,
    Recorded,
    SaidDecision,
    Store,
    UnreadWait,
    WaitChanges,
)
from tidemill.storage.pauses import pause_after

__all__ = ["Host", "Parking"]

logger = logging.getLogger(__name__)

#: Waits that are looked at, and runs that are woken, in one turn.
_PAGE = 500
#: Longest time that a timer is set for, in seconds: a machine that slept looks at the clock again after that.
_SLICE_SECONDS = 6 * 3600.0
#: How far behind a clock may be that is being kept right while a timer runs, in microseconds.
_SKEW = 1_000_000
#: An event that came before the time was up, and is not routed yet, is waited for this long, in microseconds.
_PATIENCE = 5_000_000
_PATIENCE_STEP_SECONDS = 0.05
#: Before every due time.
_FIRST = (-1, "", "")
_NOTHING = WaitChanges()


class Host(Protocol):
    """The live runs, whose waits this ends."""

    live: dict[str, LiveRun]
    touched: list[LiveRun]
    draining: bool

    def touch(self, live: LiveRun, now: int) -> int:
        """Records of a run are about to be added; returns their time."""

    def queue_ready(self, live: LiveRun) -> None:
        """Tasks of a run may have become ready."""

    async def wake_up(self, run_ids: Collection[str]) -> None:
        """Read back those of these runs that only wait."""

    def leave(self, live: LiveRun) -> None:
        """Let go of a live run."""


class Parking:
    """Which runs wait, and what wakes them."""

    def __init__(
        self, store: Store, host: Host, *, clock: Clock, max_live: int, wake: Callable[[], None]
    ) -> None:
        """`wake` is called when there is something to do (`work`)."""
        self._store = store
        self._host = host
        self._clock = clock
        self._max_live = max_live
        self._wake = wake
        #: Runs that only wait, of our shards.
        self.count = 0
        self._dags: Mapping[str, Dag] = {}
        #: The same by DAG, of those whose waiting runs count against `max_active_runs`.
        self._counted: dict[str, int] = {}
        self._is_stale = True
        self._timer: Wakeup | None = None
        #: What the timer is set for.
        self._set_for: int | None = None
        #: Waits that are due until then are ended, page by page, those after `_after` next.
        self._until: int | None = None
        self._after = _FIRST
        #: How far has to be routed before times of event waits are up, and since when that is waited for.
        self._barrier: tuple[int, int] | None = None
        self._hits = True
        #: Whether hits may be left that nobody waits for.
        self._sweep = True
        #: Whether the last look found waits whose event is there: their ends are on their way to the disk.
        self._hits_left = False
        self._unread = True
        self._reader: asyncio.Task[None] | None = None
        #: Position of the event, by (run, task), that a look back has found.
        self._found: dict[tuple[str, str], int] = {}

    @property
    def is_reading(self) -> bool:
        """True while the log is read for waits."""
        return self._reader is not None and not self._reader.done()

    def held(self, dag: str) -> int:
        """Waiting runs that count against the DAG's `max_active_runs`."""
        return self._counted.get(dag, 0)

    # ── what is told ──

    def follow(self, dags: Mapping[str, Dag]) -> None:
        """These definitions are loaded."""
        self._dags = dags
        self._is_stale = True

    def changed(self) -> None:
        """Shards came or went: everything is read again."""
        self._is_stale = self._hits = self._unread = True
        self._wake()

    def hit(self) -> None:
        """Events were routed that some wait may have waited for."""
        self._hits = self._sweep = True
        self._wake()

    def recorded(self, live: LiveRun, row: Recorded) -> None:
        """Waits of a run may have begun or ended, on disk; a run that only waits is let go of."""
        changes = row.waits or _NOTHING
        for wait in changes.begun:
            if wait.due_at is not None:
                self._arm(wait.due_at)
            self._unread |= wait.key is not None
        if changes.begun and self._unread:
            self._wake()
        if (changes.ended or changes.is_over) and (self._hits_left or self._sweep):
            self.hit()
        live.settled = row.sequence + 1
        self._park(live)

    def _park(self, live: LiveRun) -> None:
        """Let go of a run that only waits, once everything that was decided about it is on disk."""
        state = live.state
        is_on_disk = live.settled == state.sequence and not live.records and not live.dropped
        if not is_on_disk or state.phase is not RunPhase.WAITING or live.run_id not in self._host.live:
            return
        self._host.leave(live)
        self._count(live.run.dag, 1)
        self._wake()  # its place is free

    def woken(self, live: LiveRun) -> None:
        """A run that only waited is live again."""
        self._count(live.run.dag, -1)

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._reader is not None:
            self._reader.cancel()

    # ── what is done ──

    async def work(self) -> None:
        """Wake what can be woken now; raises `StoreUnavailable`, and does it again the next time."""
        if self._is_stale:
            await self.load()
        if self._host.draining:
            return
        if self._found and self._has_room:
            await self._end_found()
        if self._hits and self._has_room:
            await self._end_hits()
        if self._until is not None and self._has_room:
            await self._end_due(self._until)
        if self._unread and not self.is_reading and not self._found:
            await self._begin_reading()

    @property
    def _has_room(self) -> bool:
        return len(self._host.live) < self._max_live

    async def load(self) -> None:
        """Count what waits, and find the first time that is up."""
        shards = self._store.shards.filter
        counted = {
            name: await self._store.waits.parked_count(name, shards)
            for name, dag in self._dags.items()
            if dag.waits and dag.counts_waiting
        }
        self.count = await self._store.waits.parked_count(None, shards)
        self._counted = counted
        first = await self._store.waits.first_due(shards)
        self._is_stale = False
        if first is not None:
            self._arm(first)

    def _count(self, dag: str, change: int) -> None:
        self.count += change
        if dag in self._counted:
            self._counted[dag] += change

    # ── events ──

    async def _end_hits(self) -> None:
        self._hits = False
        try:
            rows = await self._store.waits.hit(limit=_PAGE, shards=self._store.shards.filter)
            first: dict[tuple[str, str], int] = {}
            for row in rows:
                first.setdefault((row.run_id, row.task), row.position)
            await self._arrive(first)
            if not rows and self._sweep:
                self._sweep = False
                await self._store.waits.forget_hits()
        except StoreUnavailable:
            self._hits = self._sweep = True
            raise
        self._hits_left = bool(rows)

    async def _end_found(self) -> None:
        found, self._found = self._found, {}
        try:
            await self._arrive(found)
        except StoreUnavailable:
            self._found = found
            raise

    async def _arrive(self, first: Mapping[tuple[str, str], int]) -> None:
        """End these waits by the events at these positions."""
        open_ = {place: position for place, position in first.items() if self._may_wait(*place)}
        if not open_:
            return
        events = {one.position: one.event for one in await self._store.log.at(sorted(set(open_.values())))}
        await self._host.wake_up({run for run, _ in open_})
        for (run, task), position in open_.items():
            event = events.get(position)
            gone = Failure("EventGone", f"the event at {position} is not in the log any more")
            self._end(
                run, task, gone if event is None else waits.arrived(self._detail(run, task) or {}, event)
            )

    # ── times ──

    def _arm(self, due_at: int) -> None:
        """Ring when the time of a wait is up."""
        if self._set_for is not None and self._set_for <= due_at:
            return
        self._set_timer(due_at, (due_at - self._clock.now_us()) / 1_000_000)

    def _set_timer(self, due_at: int, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_for = due_at
        slept = min(max(0.0, seconds), _SLICE_SECONDS)
        self._timer = self._clock.call_later(slept, lambda: self._ring(due_at, is_whole=slept >= seconds))

    def _ring(self, due_at: int, *, is_whole: bool) -> None:
        self._timer = self._set_for = None
        now = self._clock.now_us()
        if now < due_at and not (is_whole and due_at - now > _SKEW):
            self._arm(due_at)
            return
        self._until, self._after = max(now, due_at), _FIRST
        self._wake()

    async def _end_due(self, until: int) -> None:
        store = self._store
        rows = await store.waits.due(until, after=self._after, limit=_PAGE, shards=store.shards.filter)
        if any(row.kind in (WaitKind.EVENT, WaitKind.RUN) for row in rows) and not await self._are_routed(
            until
        ):
            return
        await self._time_up(rows, until)
        if len(rows) == _PAGE:
            self._after = (rows[-1].due_at, rows[-1].run_id, rows[-1].task)
            self._wake()
            return
        first = await store.waits.first_due(store.shards.filter, after=until)
        self._after = _FIRST
        if self._until == until:
            self._until = None
        else:
            self._wake()  # a timer rang while the database answered
        if first is not None:
            self._arm(first)

    async def _are_routed(self, until: int) -> bool:
        """Whether every event that was there when the time was up has been told; they come first."""
        log, now = self._store.log, self._clock.now_us()
        if self._barrier is None:
            self._barrier = (log.head, now)
        head, since = self._barrier
        if log.routed < head and 0 <= now - since < _PATIENCE:
            self._until = None
            self._set_timer(until, _PATIENCE_STEP_SECONDS)
            return False
        self._barrier = None
        await self._end_hits()
        return True

    async def _time_up(self, rows: list[DueWait], until: int) -> None:
        asked = [(row.run_id, row.task) for row in rows if row.kind == WaitKind.APPROVAL]
        if asked:
            # Whether somebody decided first is for the approval's row to say; we are told by a request.
            await self._store.approvals.time_out(asked, not_before=until)
        others = [
            row for row in rows if row.kind != WaitKind.APPROVAL and self._may_wait(row.run_id, row.task)
        ]
        await self._host.wake_up({row.run_id for row in others})
        at = max(self._clock.now_us(), until)
        for row in others:
            detail = self._detail(row.run_id, row.task)
            if detail is None:
                continue
            live = self._host.live[row.run_id]
            if live.records and live.at < row.due_at:  # its next row has its time already
                self._set_timer(until, _PATIENCE_STEP_SECONDS)
                continue
            self._end(row.run_id, row.task, waits.time_is_up(detail, row.due_at, at))

    # ── approvals ──

    async def approvals_ended(self, run_id: str) -> LiveRun | None:
        """Do what the approvals of a run say that have ended; the run, where it is ours and goes on."""
        await self._host.wake_up([run_id])
        live = self._host.live.get(run_id)
        if live is None or live.state.unfolding is None:
            return live
        for index, (due_at, detail) in list(live.state.unfolding.waits.items()):
            if detail["kind"] != WaitKind.APPROVAL:
                continue
            approval = await self._store.approvals.get(detail["approval"])
            if approval is None:
                continue
            said = [_decision(one) for one in await self._store.approvals.decisions(approval.id)]
            match approval.state:
                case ApprovalState.APPROVED:
                    ended: Ended = waits.approved(said)
                case ApprovalState.REJECTED:
                    ended = waits.rejected(detail, said)
                case ApprovalState.TIMED_OUT:
                    ended = waits.time_is_up(detail, due_at, max(self._clock.now_us(), due_at or 0))
                case _:
                    continue
            self._end(run_id, live.state.name(index), ended)
        self.settle(live)
        return self._host.live.get(run_id)

    # ── runs ──

    def _may_wait(self, run_id: str, task: str) -> bool:
        """False for a wait of a live run whose end is decided, and on its way to the disk."""
        live = self._host.live.get(run_id)
        return live is None or self._detail(run_id, task) is not None

    def _detail(self, run_id: str, task: str) -> dict[str, object] | None:
        """What a wait of a live run waits for; None when it waits no more."""
        live = self._host.live.get(run_id)
        if live is None or live.state.unfolding is None:
            return None
        found = live.state.unfolding.waits.get(live.dag.index.get(task, -1))
        return None if found is None else found[1]

    def _end(self, run_id: str, task: str, ended: Ended) -> None:
        live = self._host.live.get(run_id)
        if live is None or live.dropped:
            return  # another node's, or it has ended
        index = live.dag.index.get(task, -1)
        at = self._host.touch(live, self._clock.now_us())
        if decide.end_wait(live.state, index, ended, at, live.records):
            facts = {"run_id": run_id, "task": task, "result": type(ended).__name__}
            logger.debug("wait.ended", extra=facts)
            self._host.queue_ready(live)
        self.settle(live)

    def settle(self, live: LiveRun) -> None:
        """A run was touched: where nothing came of it, it is as it was before."""
        if live.records:
            return
        if live in self._host.touched:
            self._host.touched.remove(live)
        self._park(live)

    # ── reading what was routed before ──

    async def _begin_reading(self) -> None:
        self._unread = False
        try:
            rows = await self._store.waits.unread(limit=_PAGE, shards=self._store.shards.filter)
        except StoreUnavailable:
            self._unread = True
            raise
        open_ = [row for row in rows if self._may_wait(row.run_id, row.task)]
        if open_:
            self._unread = len(rows) == _PAGE
            self._reader = asyncio.get_running_loop().create_task(self._read(open_), name="lookback")

    async def _read(self, rows: list[UnreadWait]) -> None:
        try:
            found = await look_back(self._store, rows)
            empty = [row for row in rows if (row.run_id, row.task) not in found]
            if empty:
                await self._store.waits.have_read(empty)
        except StoreUnavailable:
            await self._clock.sleep(pause_after(1))
            self._unread = True
        except Exception as error:
            logger.exception("wait.look_back_failed", extra={"error": repr(error)})
            await self._clock.sleep(pause_after(10))
            self._unread = True
        else:
            self._found.update(found)
            self._hits = True
        self._reader = None
        self._wake()


def _decision(said: SaidDecision) -> Decision:
    return Decision(by=said.by, at=said.at, is_approval=said.decision == "approve", data=said.data)
