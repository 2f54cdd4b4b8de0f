"""How running sources and sinks follow the project: what changed ends and begins again, the rest is not touched."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tidemill.project.model import Project
from tidemill.service.build import Outlets
from tidemill.service.keyed import KeyedStages
from tidemill.sinks.contract import Sink
from tidemill.sources.contract import Source, SourceStatus

__all__ = ["LiveSinks", "LiveSources", "changed", "source_facts", "subscription_facts"]


logger = logging.getLogger(__name__)


def source_facts(project: Project) -> dict[str, Any]:
    """What each source is made of, by name; equal when it need not begin again."""
    facts: dict[str, Any] = {spec.name: spec for spec in project.sources}
    facts["schedule"] = [
        (dag.dag_id, dag.schedule) for dag in project.dags.values() if dag.schedule is not None
    ]
    return facts


def subscription_facts(project: Project) -> dict[str, Any]:
    """What each subscription's lane is made of, by name; its rule is the router's."""
    return {one.name: (one.sink, one.ordered, one.max_attempts) for one in project.subscriptions}


def changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Names of what came, went, or is made of something else."""
    return {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}


class LiveSources:
    """The sources that run."""

    def __init__(
        self,
        keyed: KeyedStages,
        *,
        spawn: Callable[[str, Awaitable[None]], None],
        end: Callable[[str], Awaitable[None]],
    ) -> None:
        """`spawn(stage, work)` and `end(stage)` begin and end what every node runs."""
        self._keyed = keyed
        self._spawn = spawn
        self._end = end
        self.sources: dict[str, Source] = {}
        #: Those that cannot run with these settings.
        self.off: Sequence[SourceStatus] = ()

    def begin(self, source: Source) -> None:
        """Run a source, on the node that owns it or on every one."""
        self.sources[source.name] = source
        if source.on_every_node:
            self._spawn(_stage(source.name), source.run())
        else:
            self._keyed.add(_stage(source.name), source.run)

    async def follow(self, sources: Sequence[Source], names: set[str]) -> None:
        """Sources of these names end; those of `sources` with these names begin."""
        for name in names & self.sources.keys():
            source = self.sources.pop(name)
            await (self._end(_stage(name)) if source.on_every_node else self._keyed.remove(_stage(name)))
        for source in sources:
            if source.name in names:
                self.begin(source)


class LiveSinks:
    """The lanes of the project's subscriptions."""

    def __init__(
        self, keyed: KeyedStages, outlets: Outlets, *, deliver: Callable[[str], Awaitable[None]]
    ) -> None:
        """`deliver(name)` is the work of a subscription's lane."""
        self._keyed = keyed
        self._deliver = deliver
        self.outlets = outlets
        for subscription in outlets.subscriptions:
            self._begin(subscription.name)

    async def follow(self, outlets: Outlets, names: set[str]) -> None:
        """Lanes of these names end, and those that `outlets` has begin; `outlets` holds the sinks of these names."""
        for name in names:
            await self._keyed.remove(f"sink {name}")
            gone: Sink | None = self.outlets.sinks.pop(name, None)
            if gone is not None:
                await _close(gone)
        self.outlets.subscriptions = outlets.subscriptions
        self.outlets.sinks.update(outlets.sinks)
        self.outlets.producer = outlets.producer or self.outlets.producer
        for subscription in outlets.subscriptions:
            if subscription.name in names:
                self._begin(subscription.name)

    async def forgo(self, outlets: Outlets) -> None:
        """Let go of what was built for an edit that does not go live."""
        for sink in outlets.sinks.values():
            await _close(sink)
        if outlets.producer is not None and outlets.producer is not self.outlets.producer:
            await outlets.producer.close()

    def _begin(self, name: str) -> None:
        self._keyed.add(f"sink {name}", lambda: self._deliver(name))


async def _close(sink: Sink) -> None:
    try:
        await sink.close()
    except Exception as error:  # what it held is lost; the edit goes on
        logger.exception("sink.not_closed", extra={"error": repr(error)})


def _stage(name: str) -> str:
    return f"source {name}"
