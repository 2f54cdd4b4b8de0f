"""Trees: everything that one event causes, and the one event that tells that all of it has ended.

1. A tree is the runs with one correlation id. It has ended when each of them has ended and its completion event was
   routed, and so was everything that was in the log by then: what those events started belongs to the tree, too.
2. Followed only while a trigger or subscription may match the event (`may_match_trees`). Runs that are open, or whose
   completion event is still to be routed when that begins, are known from then on; what ended before is not.
3. Told exactly once: the event's id is the correlation id, and its append forgets the tree in one transaction that
   compares the router's cursor. Killed anywhere, the rows say what is left to be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidemill.events.event import JSON, Event, LoggedEvent
from tidemill.events.lifecycle import TREE_SOURCE, Type, tree_completed
from tidemill.patterns.filters import compile_filters
from tidemill.patterns.pattern import compile_pattern
from tidemill.patterns.rule import PatternError, Rule
from tidemill.storage.contract import NewRun, Store

__all__ = ["Trees", "ends_of", "may_match_trees", "runs_of"]

_ENDS = frozenset({Type.RUN_SUCCEEDED.value, Type.RUN_FAILED.value, Type.RUN_CANCELLED.value})
#: What stands for any event that tells of a tree, where only its type and source are looked at.
_PROBE = Event(id="probe", source=TREE_SOURCE, type=Type.TREE_COMPLETED.value)
_KNOWN = ("type", "source")
#: Beyond every position.
_UNKNOWN = 1 << 62


def ends_of(events: Sequence[LoggedEvent]) -> list[tuple[str, str]]:
    """(correlation id, run) of the completion events among `events`."""
    return [
        (str(one.event.extensions.get("correlationid")), one.event.subject or "")
        for one in events
        if one.event.type in _ENDS and "replayid" not in one.event.extensions
    ]


def runs_of(runs: Sequence[NewRun]) -> list[tuple[str, str]]:
    """(correlation id, run) of new runs."""
    return [(run.correlation_id, run.run_id) for run in runs]


class Trees:
    """The trees that may have ended."""

    def __init__(self, store: Store, *, waits: Callable[[str], bool] = lambda _correlation: False) -> None:
        """`waits` says whether an event of a tree waits in admission; `ended` is told when it does not any more."""
        self._store = store
        self._waits = waits
        self.followed = False
        #: Correlation ids of trees that may have ended, each with the position up to which events must be routed.
        self._pending: dict[str, int] = {}
        #: Trees of the events in the batch that is being routed, and in the one on its way to the disk: what is
        #: derived from those is in the log only when that is on disk.
        self._seen: set[str] = set()
        self._flying: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """True when no tree waits to be looked at."""
        return not self._pending

    def forget(self) -> None:
        """Everything is read back from the store the next time."""
        self.followed = False
        self._pending = {}
        self._seen, self._flying = set(), set()

    async def follow(self, wanted: bool) -> None:
        """Begin or stop to follow trees, as the rules in force want it; everything decided before is on disk."""
        if wanted and not self.followed:
            await self._store.trees.begin()
            self.followed = True
            self.ended(await self._store.trees.ended())
        elif not wanted:
            self.forget()

    def ended(self, correlations: Sequence[str]) -> None:
        """Runs of these trees have ended, and the routing of that is on disk."""
        for correlation in correlations:
            self._pending[correlation] = _UNKNOWN if correlation in self._seen else self._store.log.head

    def seen(self, events: Sequence[LoggedEvent]) -> None:
        """Events are being routed: what they cause belongs to their trees, and is in the log when that is on disk."""
        for one in events:
            correlation = str(one.event.extensions.get("correlationid") or one.event.id)
            self._seen.add(correlation)
            if correlation in self._pending:
                self._pending[correlation] = _UNKNOWN

    def taken_off(self) -> None:
        """What was routed is on its way to the disk."""
        self._flying, self._seen = self._seen, set()

    def landed(self) -> None:
        """What was on its way is on disk, or there was nothing to write."""
        for correlation in self._flying & self._pending.keys():
            self._pending[correlation] = self._store.log.head
        self._flying = set()

    async def settle(self, position: int, *, cursor: int) -> None:
        """Tell of the trees that have ended; everything up to `position` is routed and on disk."""
        due = [one for one, horizon in self._pending.items() if horizon <= position]
        for correlation in due:
            if not self._waits(correlation) and not await self._store.trees.is_open(correlation):
                event = await self._event(correlation)
                await self._store.trees.end(correlation, event, cursor=cursor)
            del self._pending[correlation]

    async def _event(self, correlation: str) -> Event | None:
        """The event to be appended, None where nothing is known of the tree or it was told of before."""
        summary = await self._store.trees.summary(correlation)
        if summary is None or await self._store.log.find(TREE_SOURCE, correlation) is not None:
            return None
        root = await self._store.log.get(summary.position)
        return tree_completed(
            correlation_id=correlation,
            root=None if root is None else _reference(root),
            runs=summary.runs,
            hop_count=summary.hop_count + 1,
            queued_at=summary.queued_at,
            ended_at=summary.ended_at,
        )


def may_match_trees(rule: Rule) -> bool:
    """Whether an event that tells of a tree may match `rule`: True unless its type or source rules that out."""
    return _may(rule.to_json())


def _may(written: JSON) -> bool:
    if isinstance(written, list):
        return all(_may(one) for one in written)
    if not isinstance(written, dict):
        return True
    for dialect in ("exact", "prefix", "suffix"):
        if isinstance(written.get(dialect), dict) and len(written) == 1:
            return _holds(
                [{dialect: {name: written[dialect][name]}} for name in _KNOWN if name in written[dialect]]
            )
    if len(written) == 1 and isinstance(written.get("all"), list):
        return _may(written["all"])
    if len(written) == 1 and isinstance(written.get("any"), list):
        return not written["any"] or any(_may(one) for one in written["any"])
    parts = {name: written[name] for name in _KNOWN if isinstance(written.get(name), list)}
    try:
        return not parts or compile_pattern(parts).matches(_PROBE)
    except PatternError:
        return True


def _holds(filters: JSON) -> bool:
    try:
        return compile_filters(filters).matches(_PROBE)
    except PatternError:
        return True


def _reference(logged: LoggedEvent) -> JSON:
    event = logged.event
    return {"source": event.source, "id": event.id, "type": event.type, "position": logged.position}
