"""Events become other events: what the derivations of a project make of one event, for the router's own transaction.

A derived event is appended with the cursor that passes its cause. What cannot be made is a dead letter of the cause
that names the derivation; derivations start no runs, so they have no dispositions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tidemill.errors import EventRejected
from tidemill.events.dataref import reference_of
from tidemill.events.event import Event, LoggedEvent
from tidemill.patterns.index import Index
from tidemill.project.addressing import told_to
from tidemill.project.derivation import Derivation, derive, hop_count
from tidemill.project.enrichment import EnrichmentFailed
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project
from tidemill.routing.enriched import Enriched
from tidemill.routing.outcomes import letter_of
from tidemill.storage.contract import DeadLetter

__all__ = ["Derivations", "Derived"]


@dataclass(slots=True)
class Derived:
    """What derivations came to."""

    #: Each with the time at which it was made, as `RouteBatch.derived` takes them.
    events: list[tuple[Event, int]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


class Derivations:
    """The derivations of a project, ready to be matched."""

    def __init__(self, project: Project, enriched: Enriched, *, max_hops: int) -> None:
        self._by_name = {one.name: one for one in project.derivations if not one.paused}
        self._index = Index({name: one.rule for name, one in self._by_name.items()})
        self._enriched = enriched
        self._max_hops = max_hops

    @property
    def is_used(self) -> bool:
        """Whether there are any."""
        return bool(self._by_name)

    def derive(self, logged: LoggedEvent, at: int, into: Derived) -> None:
        """Add what is made of one event to `into`."""
        if told_to(logged.event):
            return  # a replay to some triggers is told to those
        if "dataref" in logged.event.extensions and reference_of(logged.event) is not None:
            return  # its data is lost
        for name in self._index.match(logged.event):
            self._make(self._by_name[name], logged, at, into)

    def _make(self, derivation: Derivation, logged: LoggedEvent, at: int, into: Derived) -> None:
        letters = into.dead_letters
        if hop_count(logged.event) >= self._max_hops:
            detail = f"a chain of more than {self._max_hops} events that cause each other was stopped"
            letters.append(_dead_letter(derivation, logged, "loop_limit", detail, at))
            return
        try:
            values = self._enriched.values(derivation, logged)
            into.events.append((derive(derivation, logged.event, enriched=values), at))
        except EventRejected as error:
            letters.append(_dead_letter(derivation, logged, error.code, error.detail, at))
        except MappingFailed as error:
            letters.append(_dead_letter(derivation, logged, "mapping_failed", str(error), at))
        except EnrichmentFailed as error:
            letters.append(_dead_letter(derivation, logged, "enrichment_failed", str(error), at))
        except Exception as error:  # no event stops the stage
            detail = f"a mistake of ours: {type(error).__name__}: {error}"
            letters.append(_dead_letter(derivation, logged, "routing_failed", detail, at))


def _dead_letter(derivation: Derivation, logged: LoggedEvent, code: str, detail: str, at: int) -> DeadLetter:
    return letter_of(logged, derivation.name, code, detail, at, derivation=derivation.name)
