"""Whether the cluster is there, what machines it has, and joining it again after it was gone.

Two things tell of a loss: the connection ends (at once), or the cluster is looked at in vain while attempts are under
way. Attempts that begin while nothing is joined wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from tidemill.clock import Clock
from tidemill.dag.resources import Resources
from tidemill.errors import SettingsError
from tidemill.executors.remote.capacity import Machine, explain_misfit
from tidemill.executors.remote.cluster import Cluster
from tidemill.executors.remote.outcomes import ClusterFailure

__all__ = ["Membership"]

logger = logging.getLogger(__name__)

#: How often the cluster is looked at while a request waits for it to grow, or while attempts are under way, in
#: seconds.
_LOOK_WAITING = 2.0
_LOOK_UNDER_WAY = 30.0
#: How long attempts wait for a cluster that has no machines at all, in seconds.
_EMPTY_SECONDS = 30.0
#: Shortest and longest time between tries to join again, in seconds.
_JOIN_AGAIN = (0.5, 15.0)


class Membership:
    """Being part of `cluster`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        wait_seconds: float,
        clock: Clock,
        looked: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        """`looked` is called when the machines have been seen, `lost` when what is under way will not be answered."""
        self._cluster = cluster
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._on_looked = looked
        self._on_lost = lost
        self.machines: Sequence[Machine] = ()
        #: Requests that some machine of `machines` can satisfy.
        self._fitting: set[Resources] = set()
        #: Set while calls can be submitted.
        self.joined = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def join(self) -> None:
        """Raises `SettingsError`; the service does not start then."""
        await self._cluster.connect()
        self._cluster.watch(self._lost)
        await self.look()
        self.joined.set()

    def watch(self) -> None:
        """Attempts are under way from now on."""
        if self._watching is None:
            self._watching = self._loop.create_task(self._watch())

    async def close(self) -> None:
        """Look no more."""
        self._closed = True
        tasks = [one for one in (self._watching, self._joining, self._looking) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_for_machine(self, request: Resources) -> None:
        """Return when some machine can satisfy the request; `ClusterFailure` when none ever can."""
        waited = 0.0
        while True:
            if not self.joined.is_set():
                await self.joined.wait()
            if request in self._fitting:
                return
            await self.look()
            misfit = explain_misfit(request, self.machines)
            if misfit is None:
                self._fitting.add(request)
                continue
            # Workers that start anew leave a cluster empty for a moment, which says nothing of its size.
            patience = self._wait_seconds if self.machines else max(self._wait_seconds, _EMPTY_SECONDS)
            if waited >= patience:
                raise ClusterFailure("Unschedulable", misfit, permanent=bool(self.machines))
            pause = min(_LOOK_WAITING, patience - waited)
            await self._clock.sleep(pause)
            waited += pause

    async def look(self) -> None:
        """See what the cluster has now; whoever asks meanwhile gets the same answer."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._ask_for_machines())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # raised where it is awaited, if anybody still waits

    async def _ask_for_machines(self) -> None:
        self.machines = await self._cluster.machines()
        self._fitting = {one for one in self._fitting if explain_misfit(one, self.machines) is None}

    async def _watch(self) -> None:
        absent = 0
        while True:
            await self._clock.sleep(_LOOK_UNDER_WAY)
            if not self.joined.is_set():
                continue
            try:
                await self.look()
            except ClusterFailure:
                absent += 1
            else:
                absent = 0 if self.machines else absent + 1
                self._on_looked()
            if absent > 1 and await self._answers():
                absent = 0
                self._lost()

    async def _answers(self) -> bool:
        """While nothing is there, attempts are left alone: workers can outlive the head of their cluster."""
        try:
            await self._cluster.reach()
        except SettingsError as error:
            self._warn(error)
            return False
        return True

    def _lost(self) -> None:
        """What we were part of is gone, and what was under way with it: join what is there, once it is."""
        if self._closed or self._joining is not None:
            return
        self.joined.clear()
        self._on_lost()
        self._joining = self._loop.create_task(self._join_until_there())
        self._joining.add_done_callback(self._joined_again)

    def _joined_again(self, _: asyncio.Task[None]) -> None:
        self._joining = None

    async def _join_until_there(self) -> None:
        pause, longest = _JOIN_AGAIN
        while True:
            try:
                await self._cluster.rejoin()
                await self.look()
            except (SettingsError, ClusterFailure) as error:
                self._warn(error)
                await self._clock.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                break
        logger.warning("executor.rejoined", extra={"executor": self._cluster.name})
        self.joined.set()
        self._on_looked()

    def _warn(self, error: Exception) -> None:
        facts = {"executor": self._cluster.name, "error": str(error)}
        logger.warning("executor.unreachable", extra=facts)
