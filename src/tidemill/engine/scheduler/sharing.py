"""Who is next among those that share: weighted fair sharing of slots, of whatever is under contention.

An `Account` holds what one sharer (a DAG, or a key of its runs) has of a pool, over all queues of that pool. Of those
that have something waiting, the one comes first

1. whose slots in use, divided by its weight, are least;
2. among equals, whose slot-time so far, divided by its weight, is least. A start counts as a millisecond, so that
   tasks that take no time are shared as well;
3. among equals, whose turn was longest ago.

The bound: when a slot is given away while tasks of A and B wait that fit, B's slots in use per weight exceed A's by no
more than B's largest task per weight; A falls behind its share by at most one such task of each other sharer. With a
single slot the same holds of slot-time. Whoever has nothing waiting saves nothing up: it comes back as if it had had
as much as those who were served meanwhile.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from tidemill.engine.scheduler.queue import Entry, TaskQueue

if TYPE_CHECKING:
    from tidemill.engine.scheduler.grant import Grant
    from tidemill.engine.scheduler.lane import Lane

__all__ = ["Account", "Flow", "Sharers"]

#: Slot-time that a start counts for, in microseconds.
_START_US = 1000
#: Outdated places in a heap that are borne for each one in use.
_OUTDATED = 4


class Account:
    """What one sharer has."""

    __slots__ = ("alone", "parent", "places", "served", "since", "used", "weight")

    def __init__(self, weight: float, parent: Account | None = None) -> None:
        self.weight = weight
        #: The sharer that this one is part of.
        self.parent = parent
        #: Whether nobody shares with it: then its slot-time is of no interest, and is not counted.
        self.alone = False
        #: Slots in use.
        self.used = 0
        #: Slot-time until `since`, in microseconds.
        self.served = 0
        self.since = 0
        #: Where it is one of several: told when its order changes.
        self.places: list[tuple[Sharers, Flow | Sharers]] = []

    def change(self, slots: int, now: int) -> None:
        """Slots were taken, or (below 0) came back."""
        if now != self.since:
            self.served += self.used * (now - self.since)
            self.since = now
        if slots > 0:
            self.served += slots * _START_US
        self.used += slots
        for sharers, one in self.places:
            if sharers.is_shared:
                sharers.moved(one)
        if self.parent is not None:
            self.parent.change(slots, now)

    def stand_at(self, floor: float) -> None:
        """It comes back after it had nothing: what it did not use is not saved up."""
        least = int(floor * self.weight)
        if self.served < least:
            self.served = least


class Flow:
    """What waits of one sharer in one queue."""

    __slots__ = ("account", "among", "count", "grant", "lane", "path", "place", "tasks")

    def __init__(self, account: Account, among: Sharers, path: tuple[str, ...], lane: Lane) -> None:
        self.account = account
        self.lane = lane
        self.among = among
        #: What it stands for: a DAG, or a DAG and a key.
        self.path = path
        #: What its tasks take that ask for nothing further.
        self.grant: Grant | None = None
        self.tasks = TaskQueue()
        self.count = 0
        self.place = 0
        account.places.append((among, self))

    def push(self, entry: Entry) -> None:
        """Add a waiting task."""
        tasks = self.tasks
        if tasks.ahead or (tasks.behind and entry < tasks.behind[-1]):
            tasks.push(entry)
        else:
            tasks.behind.append(entry)
        self.count += 1
        among = self.among
        if self.count == 1:
            among.begin(self)
        if among.is_part:
            among.grew()
        else:
            among.count += 1

    def first(self) -> Entry | None:
        """What `pop` would give; void tickets before it are dropped."""
        before = len(self.tasks)
        entry = self.tasks.first()
        self.shrank(before - len(self.tasks))
        return entry

    def peek(self) -> Entry:
        """The entry that comes first, void or not; there is one."""
        return self.tasks.peek()

    def pop(self) -> Entry:
        """The entry that comes first."""
        tasks = self.tasks
        entry = tasks.pop() if tasks.ahead else tasks.behind.popleft()
        among = self.among
        if self.count > 1 and not among.is_part:
            self.count -= 1
            among.count -= 1
        else:
            self.shrank(1)
        return entry

    def shrank(self, number: int) -> None:
        """So many have left."""
        if number:
            self.count -= number
            self.among.shrank(number, self)


class Sharers:
    """Several that share; itself a sharer among others, where it has an account."""

    __slots__ = (
        "_among",
        "_heap",
        "_turn",
        "_waiting",
        "account",
        "count",
        "floor",
        "is_part",
        "is_shared",
        "only",
        "place",
    )

    def __init__(self, account: Account | None = None, among: Sharers | None = None) -> None:
        self.account = account or Account(1.0)
        self._among = among
        #: Whether it is itself one of several.
        self.is_part = among is not None
        self.count = 0
        self.place = 0
        #: The only queue in which something waits, where there is only one and it is no group.
        self.only: Flow | None = None
        #: Slot-time per weight of whoever was served last.
        self.floor = 0.0
        #: Whether more than one has something waiting.
        self.is_shared = False
        self._waiting: dict[Flow | Sharers, None] = {}
        #: (slots per weight, slot-time per weight, turn, sharer); only kept while it is shared.
        self._heap: list[tuple[float, float, int, Flow | Sharers]] = []
        self._turn = 0
        if among is not None:
            self.account.places.append((among, self))

    def begin(self, one: Flow | Sharers) -> None:
        """`one` has something waiting again."""
        account = one.account
        if not account.used:
            if self._waiting and not self.is_shared:
                self.serve(next(iter(self._waiting)))
            account.stand_at(self.floor)
        self._waiting[one] = None
        if self.is_shared:
            self.moved(one)
        elif len(self._waiting) > 1:
            self.is_shared = True
            self.only = None
            self._rebuild()
        else:
            self.only = one if isinstance(one, Flow) else None

    def grew(self) -> None:
        """One more waits."""
        self.count += 1
        if self._among is not None:
            if self.count == 1:
                self._among.begin(self)
            self._among.grew()

    def shrank(self, number: int, one: Flow | Sharers) -> None:
        """So many of `one` have left."""
        self.count -= number
        if not one.count:
            self.serve(one)
            del self._waiting[one]
            self.only = None
            if self.is_shared and len(self._waiting) < 2:
                self.is_shared = False
                self._heap.clear()
                last = next(iter(self._waiting))
                self.only = last if isinstance(last, Flow) else None
        if self._among is not None:
            self._among.shrank(number, self)

    def moved(self, one: Flow | Sharers) -> None:
        """Its account has changed."""
        if not one.count:
            return
        if len(self._heap) > _OUTDATED * len(self._waiting) + 64:
            self._rebuild()
        else:
            heappush(self._heap, self._placed(one))

    def next(self) -> Flow | Sharers | None:
        """Whose turn it is."""
        if not self.is_shared:
            return next(iter(self._waiting), None)
        heap = self._heap
        while True:
            _, _, place, one = heap[0]
            if place == one.place and one.count:
                return one
            heappop(heap)

    def first(self) -> Entry | None:
        """What `pop` would give; void tickets before it are dropped."""
        while (one := self.next()) is not None:
            entry = one.first()
            if entry is not None:
                return entry
        return None

    def peek(self) -> Entry:
        """The entry that `pop` would give, void or not; there is one."""
        one = self.next()
        assert one is not None  # noqa: S101 - asked only while something waits
        return one.peek()

    def pop(self) -> Entry:
        """The entry that comes first, of the one whose turn it is."""
        return self.flow().pop()

    def flow(self) -> Flow:
        """The queue whose turn it is; there is one."""
        found: Flow | Sharers = self
        while isinstance(found, Sharers):
            below = found.next()
            assert below is not None  # noqa: S101 - asked only while something waits
            found.serve(below)
            found = below
        return found

    def serve(self, one: Flow | Sharers) -> None:
        """It is its turn, or was: whoever comes after has had as much."""
        served = one.account.served / one.account.weight
        if served > self.floor:
            self.floor = served

    def _placed(self, one: Flow | Sharers) -> tuple[float, float, int, Flow | Sharers]:
        account = one.account
        one.place = self._turn = self._turn + 1
        return (account.used / account.weight, account.served / account.weight, one.place, one)

    def _rebuild(self) -> None:
        self._heap = [self._placed(one) for one in self._waiting]
        heapify(self._heap)
