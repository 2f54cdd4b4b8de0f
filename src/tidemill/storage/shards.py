"""Which shards of the keyed state this process works on.

Every piece of keyed state (a run, a schedule, a watched folder, a subscription, the router) belongs to one shard, and
only the owner of that shard works on it. One process on its own database owns them all, always. Where several nodes
share a database, the store decides and tells: gained shards are read back from the database as after a restart, and
what belongs to lost ones is dropped at once, unrecorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tidemill.ids import SHARDS, shard_of

__all__ = ["ALL", "Shards"]

ALL = frozenset(range(SHARDS))

Listener = Callable[[frozenset[int], frozenset[int]], None]


class Shards:
    """The owned shards, and those who want to know when they change."""

    def __init__(self, owned: Iterable[int] = ALL, *, shared: bool = False) -> None:
        #: True when other processes may work on the same database.
        self.shared = shared
        self._owned = frozenset(owned)
        self._epochs: dict[int, int] = {}
        #: Owned shards whose last owner is known not to have died with them.
        self._handed_over: frozenset[int] = frozenset()
        self._listeners: list[Listener] = []
        #: What was decided here, or came of an attempt here, and was not recorded because the shard had been lost.
        self.refused = 0

    @property
    def owned(self) -> frozenset[int]:
        """The shards that this process works on now."""
        return self._owned

    @property
    def filter(self) -> frozenset[int] | None:
        """The owned shards as a condition for reading; None where everything is ours anyway."""
        return self._owned if self.shared else None

    def owns(self, key: str) -> bool:
        """Whether this process works on what is named `key`."""
        return shard_of(key) in self._owned

    def epoch(self, shard: int) -> int:
        """How often the shard has been taken, when it was taken by this process; 0 where nobody else can."""
        return self._epochs.get(shard, 0)

    def died(self, shard: int) -> bool:
        """Whether whoever had the shard before may have died: it did not give it back, and was not this process."""
        return shard not in self._handed_over

    def listen(self, listener: Listener) -> None:
        """Call `listener(gained, lost)` in the event loop from now on, after `owned` has changed."""
        self._listeners.append(listener)

    def forget(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)

    def change(
        self,
        owned: Iterable[int],
        epochs: Mapping[int, int] | None = None,
        *,
        handed_over: Iterable[int] = (),
    ) -> None:
        """These shards are owned now, newly taken ones under `epochs` (called by the store alone).

        `handed_over`: those that their last owner gave back.
        """
        before, self._owned = self._owned, frozenset(owned)
        taken = epochs or {}
        # Nobody had them in between: they were lost with the session and not with the process.
        ours = (shard for shard, epoch in taken.items() if self._epochs.get(shard) == epoch - 1)
        self._handed_over = (self._handed_over - taken.keys()).union(handed_over, ours)
        self._epochs.update(taken)
        gained, lost = self._owned - before, before - self._owned
        if gained or lost:
            for listener in list(self._listeners):
                listener(gained, lost)
