"""What becomes of one event: pure decisions that the router gathers into batches.

Each trigger that matches gets exactly one disposition: a run, or the dead letter that says why not. What has an
admission is left to it (`Routed.work`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tidemill.dag.parameters import ParameterError
from tidemill.events.dataref import reference_of
from tidemill.events.event import LoggedEvent
from tidemill.patterns.index import Index
from tidemill.project.addressing import ADDRESSED, told_to
from tidemill.project.enrichment import EnrichmentFailed
from tidemill.project.lookups import Lookup, event_lookup
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project, Trigger
from tidemill.project.starting import start_parameters
from tidemill.routing.enriched import Enriched
from tidemill.routing.loops import RUN_ENDS
from tidemill.routing.outcomes import Routed, WorkKind, add_run, contained, dead_letter, hops, lost
from tidemill.routing.subscribed import Subscribed
from tidemill.routing.trees import may_match_trees
from tidemill.routing.waits import Awaited
from tidemill.storage.contract import Delivery, Disposition, DispositionKind

__all__ = ["Routed", "Routes"]

_MAX_HOPS_CODE = "loop_limit"


class Routes:
    """The triggers and subscriptions of a project, ready to be matched."""

    def __init__(self, project: Project, *, max_hops: int, enriched: Enriched | None = None) -> None:
        """`enriched` holds what was looked up for the events that are routed."""
        #: What runs wait for; None where nobody asks.
        self.awaited: Awaited | None = None
        self._enriched = enriched
        self._dags = project.dags
        self._max_hops = max_hops
        self._triggers = Index({trigger.name: trigger.rule for trigger in project.triggers})
        self._by_name = {trigger.name: trigger for trigger in project.triggers}
        admitted = {one.name: one.admission for one in project.triggers if one.admission is not None}
        #: Triggers of which the ends of runs and cancelling events mean something to admission.
        self._followed = frozenset(admitted)
        self._cancels = Index({name: one.cancel_on.rule for name, one in admitted.items() if one.cancel_on})
        self._subscriptions = Index({one.name: one.rule for one in project.subscriptions})
        #: Subscriptions made by API, which come and go with events of the log.
        self.made = Subscribed()
        rules = [*(one.rule for one in project.triggers), *(one.rule for one in project.subscriptions)]
        self._wants_trees = any(map(may_match_trees, rules))

    @property
    def wants_trees(self) -> bool:
        """Whether somebody may want to be told that everything caused by an event has ended."""
        return self._wants_trees or self.made.wants_trees

    def route(self, logged: LoggedEvent, at: int, into: Routed) -> None:
        """Match one event and add what follows from it to `into`."""
        event = logged.event
        if "dataref" in event.extensions and reference_of(event) is not None:
            lost(logged, at, into)
            return
        if self.awaited is not None:
            into.waits += self.awaited.keys(logged)
        told = told_to(event)
        if self._followed:
            self._note(logged, told, into)
        addressed = ADDRESSED.get(event.type)
        if addressed is not None and (not told or addressed in told):
            with contained(logged, addressed, at, into):
                self._start_addressed(logged, addressed, at, into)
        for name in self._triggers.match(event):
            if not told or name in told:
                with contained(logged, name, at, into):
                    self._start(self._by_name[name], logged, at, into)
        if "replayid" in event.extensions:
            return  # subscribers had it the first time
        for name in (*self._subscriptions.match(event), *self.made.match(event)):
            into.deliveries.append(Delivery(subscription=name, position=logged.position, due_at=at))
        if (deleted := self.made.follow(event)) is not None:
            into.unsubscribed.append(deleted)

    def _note(self, logged: LoggedEvent, told: Collection[str], into: Routed) -> None:
        """Leave to admission what an event means to it beyond matching triggers."""
        event = logged.event
        if event.type in RUN_ENDS and isinstance(event.data, dict):
            trigger = event.data.get("trigger")
            if trigger in self._followed:
                into.work.append((WorkKind.ENDED, trigger, logged))
        for name in self._cancels.match(event):
            if told and name not in told:
                continue  # a replay to other triggers
            into.work.append((WorkKind.CANCEL, name, logged))

    def _start(self, trigger: Trigger, logged: LoggedEvent, at: int, into: Routed) -> None:
        buffered = trigger.admission is not None and trigger.admission.paused == "buffer"
        if trigger.paused and not buffered:
            into.dispositions.append(Disposition(logged.position, trigger.name, DispositionKind.PAUSED))
            return
        if hops(logged.event) > self._max_hops:
            detail = f"a chain of more than {self._max_hops} runs that start each other was stopped"
            dead_letter(logged, trigger.name, _MAX_HOPS_CODE, detail, at, into)
            return
        if trigger.admission is not None or trigger.loops is not None:
            into.work.append((WorkKind.ADMIT, trigger.name, logged))
            return
        dag = self._dags[trigger.dag]
        try:
            parameters = start_parameters(trigger, dag, self._lookup(trigger, logged))
        except EnrichmentFailed as error:
            dead_letter(logged, trigger.name, "enrichment_failed", str(error), at, into)
        except MappingFailed as error:
            dead_letter(logged, trigger.name, "mapping_failed", str(error), at, into)
        except ParameterError as error:
            dead_letter(logged, trigger.name, "invalid_parameters", str(error), at, into)
        else:
            add_run(dag, trigger.name, logged, parameters, at, into)

    def _lookup(self, trigger: Trigger, logged: LoggedEvent) -> Lookup:
        if self._enriched is not None and trigger.enrichments:
            return self._enriched.lookup(trigger, logged)
        return event_lookup(logged.event)

    def _start_addressed(self, logged: LoggedEvent, trigger: str, at: int, into: Routed) -> None:
        event = logged.event
        dag = self._dags.get(event.subject or "")
        if dag is None:
            dead_letter(logged, trigger, "unknown_dag", f"there is no DAG {event.subject!r}", at, into)
            return
        data = event.data if isinstance(event.data, dict) else {}
        asked, version = data.get("parameters"), data.get("version")
        values: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
        if isinstance(version, str):  # they are those of that version, as whoever asked has checked
            add_run(dag, trigger, logged, values, at, into, version=version)
            return
        try:
            parameters = dag.parameters.validate(values)
        except ParameterError as error:
            dead_letter(logged, trigger, "invalid_parameters", str(error), at, into)
        else:
            add_run(dag, trigger, logged, parameters, at, into)
