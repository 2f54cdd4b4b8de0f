"""What a pipeline has decided becomes runs, dispositions and dead letters.

A run that cannot be made is told to the pipeline: what it would have held is free again, and goes to whoever waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.dag.parameters import ParameterError
from tidemill.events.event import JSON, Event, LoggedEvent
from tidemill.project.enrichment import EnrichmentFailed
from tidemill.project.mapping import MappingFailed
from tidemill.project.starting import shown
from tidemill.routing.admission.entry import Entry
from tidemill.routing.admission.items import Item, Member
from tidemill.routing.admission.loading import keys_text
from tidemill.routing.admission.parameters import parameters_of
from tidemill.routing.enriched import Enriched
from tidemill.routing.outcomes import Routed, add_run, contained, dead_letter
from tidemill.storage.contract import Disposition, DispositionKind, EventLog

__all__ = ["Starts"]


class Starts:
    """Makes runs of items; remembers the events of the batch that is being decided."""

    def __init__(self, log: EventLog, *, max_held: int, enriched: Enriched | None = None) -> None:
        self._log = log
        self._enriched = enriched
        self._max_held = max_held
        self._events: dict[int, LoggedEvent] = {}

    def clear(self) -> None:
        """Another batch begins."""
        self._events.clear()

    def see(self, logged: LoggedEvent) -> None:
        """An event of this batch."""
        self._events[logged.position] = logged

    async def carry_out(self, entry: Entry, routed: Routed, now: int) -> bool:
        """Do what a pipeline has decided, until it decides nothing more; whether rows of its members change."""
        name, decisions = entry.trigger.name, entry.pipeline.decisions
        while decisions.settled or decisions.starts:
            settled, decisions.settled = decisions.settled, []
            for member, kind, detail, run in settled:
                if kind is DispositionKind.DEAD_LETTERED:
                    await self._refuse_full(entry, member, routed, now)
                else:
                    routed.dispositions.append(Disposition(member.position, name, kind, run, detail))
            starts, decisions.starts = decisions.starts, []
            for item in starts:
                await self._start(entry, item, routed, now)
        for run in dict.fromkeys(decisions.cancels):
            routed.cancels.append((run, f"admission of {name}"))
        decisions.cancels.clear()
        return bool(decisions.touched)

    async def _start(self, entry: Entry, item: Item, routed: Routed, now: int) -> None:
        name, lead = entry.trigger.name, item.lead
        events = await self._read([member.position for member in item.members])
        try:
            if len(events) < len(item.members):
                raise MappingFailed("an event that the log has dropped")
            parameters = lead.parameters
            if parameters is None:
                values = await self._look_up(entry, events)
                parameters = parameters_of(entry.trigger, entry.dag, events, enriched=values)
        except Exception as error:
            self._refuse(entry, item, events, error, routed, now)
            return
        leading = events[-1]
        if leading.position != lead.position:
            leading = next(logged for logged in events if logged.position == lead.position)
        run = add_run(
            entry.dag,
            name,
            leading,
            parameters,
            now,
            routed,
            run=lead.run,
            together=events if len(events) > 1 else (),
            admission=keys_text(entry.pipeline.live.get(lead.run)),
        )
        for member in item.members:
            if member is not lead:
                kind = member.tag or DispositionKind.RUN
                routed.dispositions.append(Disposition(member.position, name, kind, run))

    async def _look_up(self, entry: Entry, events: Sequence[LoggedEvent]) -> dict[str, JSON] | None:
        """The values of the trigger's enrichments for the event that its mapping sees."""
        if self._enriched is None or not entry.trigger.enrichments:
            return None
        seen = shown(entry.trigger, events)
        await self._enriched.prepare_for(entry.trigger, [seen])
        return self._enriched.values(entry.trigger, seen)

    def _refuse(
        self,
        entry: Entry,
        item: Item,
        events: Sequence[LoggedEvent],
        error: Exception,
        routed: Routed,
        now: int,
    ) -> None:
        """No run can be made: its events are dead letters, and what it would have held is free."""
        name = entry.trigger.name
        found = {logged.position: logged for logged in events}
        for member in item.members:
            logged = found.get(member.position) or _gone(member)
            match error:
                case MappingFailed():
                    dead_letter(logged, name, "mapping_failed", str(error), now, routed)
                case EnrichmentFailed():
                    dead_letter(logged, name, "enrichment_failed", str(error), now, routed)
                case ParameterError():
                    dead_letter(logged, name, "invalid_parameters", str(error), now, routed)
                case _ if entry.pipeline.spec.reduce is not None:
                    detail = f"{type(error).__name__}: {error}"
                    dead_letter(logged, name, "reduce_failed", detail, now, routed)
                case _:
                    with contained(logged, name, now, routed):
                        raise error
        entry.pipeline.let_go(item.lead.run)

    async def _refuse_full(self, entry: Entry, member: Member, routed: Routed, now: int) -> None:
        events = await self._read([member.position])
        logged = events[0] if events else _gone(member)
        detail = f"the trigger holds {self._max_held} events already"
        dead_letter(logged, entry.trigger.name, "admission_full", detail, now, routed)

    async def _read(self, positions: list[int]) -> list[LoggedEvent]:
        known = [self._events.get(position) for position in positions]
        if None not in known:
            return [logged for logged in known if logged is not None]
        return await self._log.at(positions)


def _gone(member: Member) -> LoggedEvent:
    """What stands in place of an event that is not in the log any more."""
    return LoggedEvent(
        member.position, member.at, Event(id=f"position {member.position}", source="/", type="")
    )
