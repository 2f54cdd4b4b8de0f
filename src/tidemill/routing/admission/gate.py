"""The admission of all triggers, for the router: what is left to it comes in, runs and dispositions come out.

1. What a batch changes is told once (`changes`), and committed with the dispositions that follow from it.
2. What was decided after a batch was handed to the database stands on it; when that batch is lost, so is all of this,
   and a new gate is read back from the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tidemill.dag.parameters import ParameterError
from tidemill.events.event import LoggedEvent
from tidemill.project.admission import Admission
from tidemill.project.enrichment import EnrichmentFailed
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project, Trigger
from tidemill.routing.admission.alarms import Alarms
from tidemill.routing.admission.entry import Entry
from tidemill.routing.admission.items import Member, held_row, restored
from tidemill.routing.admission.keys import MemberReader
from tidemill.routing.admission.loading import PAGE, read_held, read_live
from tidemill.routing.admission.memory import Memory
from tidemill.routing.admission.parameters import parameters_of
from tidemill.routing.admission.pipeline import Pipeline
from tidemill.routing.admission.starts import Starts
from tidemill.routing.enriched import Enriched
from tidemill.routing.loops import may_have_cause, times_started
from tidemill.routing.outcomes import Routed, WorkKind, contained, dead_letter
from tidemill.storage.contract import (
    AdmissionChanges,
    Disposition,
    DispositionKind,
    HeldEvent,
    Store,
)

__all__ = ["Gate"]

#: What stages remember, as records in memory.
_REMEMBERED = 50_000
#: How often rows that mean nothing any more are deleted.
_FORGET_EVERY_US = 600_000_000


class Gate:
    """Pipelines by trigger, on one store."""

    def __init__(
        self, store: Store, project: Project, *, max_held: int, enriched: Enriched | None = None
    ) -> None:
        """`enriched` holds what was looked up for the events of a batch when `work` is called."""
        self._store = store
        self._enriched = enriched
        self._project = project
        self._max_held = max_held
        self._memory = Memory(_REMEMBERED)
        self._alarms = Alarms()
        self._entries: dict[str, Entry] = {}
        for trigger in project.triggers:
            if trigger.admission is not None or trigger.loops is not None:
                self._add(trigger, trigger.admission or Admission())
        self._turn = 0
        self._released: list[tuple[int, str]] = []
        self._touched: dict[str, None] = {}
        self._starts = Starts(store.log, max_held=max_held, enriched=enriched)
        self._forgotten_at = 0
        #: Events that wait and are on disk or on their way there, by correlation id.
        self._waiting: Counter[str] = Counter()

    def _add(self, trigger: Trigger, spec: Admission) -> None:
        pipeline = Pipeline(
            trigger.name,
            spec,
            memory=self._memory,
            paused=trigger.paused,
            max_held=self._max_held,
            alarms=self._alarms,
        )
        dag = self._project.dags[trigger.dag]
        self._entries[trigger.name] = Entry(trigger, dag, pipeline, MemberReader(trigger.name, spec))

    @property
    def is_used(self) -> bool:
        """Whether any trigger has an admission."""
        return bool(self._entries)

    @property
    def next_due(self) -> int | None:
        """When something is due by itself."""
        return self._alarms.next_due

    @property
    def held(self) -> int:
        """Events that wait."""
        return sum(entry.pipeline.held for entry in self._entries.values())

    def waits(self, correlation: str) -> bool:
        """Whether an event of a tree waits."""
        return correlation in self._waiting

    # ── reading back ──

    async def load(self, routed: Routed, now: int) -> None:
        """Read what waits, what is remembered and which runs have not ended; decide what follows at once."""
        store = self._store.admissions
        held = await read_held(store)
        if not self._entries and not held:
            return
        self._turn = await store.turn()
        self._memory = Memory(_REMEMBERED)
        self._alarms = Alarms()
        self._released, self._touched = [], {}
        self._waiting = Counter()
        remembered = await store.remembered(limit=_REMEMBERED)
        self._memory.adopt(remembered)
        self._memory.complete = len(remembered) < _REMEMBERED
        for entry in list(self._entries.values()):
            self._add(entry.trigger, entry.pipeline.spec)
        live = await read_live(store)
        triggers = {trigger.name: trigger for trigger in self._project.triggers}
        for name, rows in held.items():
            if name not in triggers:
                self._settle_orphans(name, rows, routed)
            elif name not in self._entries:
                self._add(triggers[name], Admission())  # its admission is gone: what was held goes on
        for name, entry in self._entries.items():
            items = restored(held.get(name, []))
            self._waiting.update(member.correlation for _, item in items for member in item.members)
            if not self._memory.complete:
                members = [member for _, item in items for member in item.members]
                await self._recall(entry.pipeline, members, now, now)
            entry.pipeline.restore(items, live.get(name, {}), now)
            entry.pipeline.resume(now)
            await self._carry_out(entry, routed, now)

    def _settle_orphans(self, trigger: str, rows: Iterable[HeldEvent], routed: Routed) -> None:
        for row in rows:
            detail = "the trigger is gone"
            kind = DispositionKind.CANCELLED
            routed.dispositions.append(Disposition(row.position, trigger, kind, None, detail))
            self._released.append((row.position, trigger))

    # ── deciding ──

    async def work(self, routed: Routed, now: int) -> None:
        """Do what routing has left to admission, in order."""
        work, routed.work = routed.work, []
        self._starts.clear()
        for kind, trigger, logged in work:
            entry = self._entries[trigger]
            if kind == WorkKind.ADMIT:
                await self._admit(entry, logged, routed, now)
            elif kind == WorkKind.CANCEL:
                await self._cancel(entry, logged, now)
            else:
                await self._end(entry, logged, now)
            await self._carry_out(entry, routed, now)

    async def _admit(self, entry: Entry, logged: LoggedEvent, routed: Routed, now: int) -> None:
        if await self._loops(entry, logged, routed):
            return
        member: Member | None = None
        with contained(logged, entry.trigger.name, now, routed):
            member = self._read_member(entry, logged, routed, now)
        if member is None:
            return
        self._starts.see(logged)
        if not self._memory.complete:
            await self._recall(entry.pipeline, [member], logged.received_at, now)
        entry.pipeline.admit(member, logged.received_at, now)

    async def _loops(self, entry: Entry, logged: LoggedEvent, routed: Routed) -> bool:
        """Whether the trigger has led to this event as often as it may, which is then its disposition."""
        name, allowed = entry.trigger.name, entry.trigger.loops
        if allowed is None or not may_have_cause(logged.event):
            return False
        count = await times_started(self._store, name, logged.event, enough=allowed)
        if count < allowed:
            return False
        detail = f"it has started {count} runs of this chain"
        routed.dispositions.append(
            Disposition(logged.position, name, DispositionKind.LOOP_AVOIDED, None, detail)
        )
        return True

    def _read_member(self, entry: Entry, logged: LoggedEvent, routed: Routed, now: int) -> Member | None:
        """The event with its keys, and with its parameters where they are its alone; None for a dead letter."""
        name = entry.trigger.name
        try:
            member = entry.reader.read(logged)
            if not entry.pipeline.spec.collects:
                values = self._enriched.values(entry.trigger, logged) if self._enriched is not None else None
                member.parameters = parameters_of(entry.trigger, entry.dag, [logged], enriched=values)
        except MappingFailed as error:
            dead_letter(logged, name, "mapping_failed", str(error), now, routed)
        except EnrichmentFailed as error:
            dead_letter(logged, name, "enrichment_failed", str(error), now, routed)
        except ParameterError as error:
            dead_letter(logged, name, "invalid_parameters", str(error), now, routed)
        else:
            return member
        return None

    async def _cancel(self, entry: Entry, logged: LoggedEvent, now: int) -> None:
        try:
            key = entry.reader.cancelling(logged)
        except MappingFailed:
            return  # it names nothing that could be cancelled
        if not self._memory.complete:
            beside = entry.pipeline.members_beside(key)
            await self._recall(entry.pipeline, beside, logged.received_at, now)
        entry.pipeline.cancel_key(key, logged.position, logged.received_at, now)

    async def _end(self, entry: Entry, logged: LoggedEvent, now: int) -> None:
        run = logged.event.subject
        if run is not None:
            if not self._memory.complete:
                await self._recall(entry.pipeline, [], logged.received_at, now)
            entry.pipeline.ended(run, logged.received_at, now)

    async def ring(self, routed: Routed, horizon: int, now: int) -> None:
        """Decide what is due: by `horizon`, and what paces starts by `now`."""
        for trigger in self._alarms.take(horizon, now):
            entry = self._entries[trigger]
            if not self._memory.complete:
                await self._recall(entry.pipeline, [], horizon, now)
            entry.pipeline.ring(horizon, now)
            await self._carry_out(entry, routed, now)

    async def _recall(self, pipeline: Pipeline, members: list[Member], horizon: int, now: int) -> None:
        """Read what must be known before these members, and what is due, can go on."""
        members = [*members, *pipeline.due_members(horizon, now)]
        wanted = self._memory.unknown(key for member in members for key in pipeline.remembered_by(member))
        for start in range(0, len(wanted), PAGE):
            asked = wanted[start : start + PAGE]
            self._memory.adopt(await self._store.admissions.recall(asked), asked)

    async def _carry_out(self, entry: Entry, routed: Routed, now: int) -> None:
        if await self._starts.carry_out(entry, routed, now):
            self._touched[entry.trigger.name] = None

    # ── committing ──

    @property
    def has_changes(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._touched or self._released or self._memory.is_changed)

    def changes(self, routed: Routed, horizon: int, now: int) -> AdmissionChanges | None:
        """What is to be committed with what was routed; None when nothing is."""
        if not (self.has_changes or routed.cancels):
            return None
        held: list[HeldEvent] = []
        released, self._released = self._released, []
        for name in self._touched:
            for member in self._entries[name].pipeline.changes():
                if member.stage is not None:
                    held.append(held_row(member, name))
                    self._waiting[member.correlation] += not member.stored
                    member.stored = True
                elif member.stored:
                    released.append((member.position, name))
                    self._free(member, routed)
                    member.stored = False
        self._touched = {}
        forget = horizon - self._forgotten_at > _FORGET_EVERY_US
        if forget:
            self._forgotten_at = horizon
        self._turn += 1
        return AdmissionChanges(
            turn=self._turn - 1,
            held=held,
            released=released,
            remembered=self._memory.changed(),
            forget_before=horizon if forget else None,
            cancels=routed.cancels,
            at=now,
        )

    def _free(self, member: Member, routed: Routed) -> None:
        self._waiting[member.correlation] -= 1
        if not self._waiting[member.correlation]:
            del self._waiting[member.correlation]
            routed.freed.append(member.correlation)

    def landed(self, horizon: int) -> None:
        """Everything that was told is on disk."""
        self._memory.trim(horizon)
