"""The admission of one trigger: its stages in their order, what is held in them, and what they decide. Pure.

    cancel_on → pause → idempotency → rate_limit → join → debounce → batch → throttle → concurrency → run

1. A member has exactly one final disposition: `settle`, or the start of its item. Until then it is held, or it is on
   its way through the stages within one call.
2. Everything that must outlive the process is told in `changes`; a pipeline made anew from those rows, and from the
   runs that have not ended, decides as this one would.
3. Before a happening at a time, everything that was due by then rings.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.project.admission import Admission, Stage
from tidemill.routing.admission.alarms import Alarms
from tidemill.routing.admission.items import PLACES, Item, Member
from tidemill.routing.admission.memory import Memory
from tidemill.routing.admission.stages.batch import Batch
from tidemill.routing.admission.stages.concurrency import Concurrency
from tidemill.routing.admission.stages.contract import StageMachine
from tidemill.routing.admission.stages.debounce import Debounce
from tidemill.routing.admission.stages.idempotency import Idempotency
from tidemill.routing.admission.stages.join import Join
from tidemill.routing.admission.stages.pause import Pause
from tidemill.routing.admission.stages.rate_limit import RateLimit
from tidemill.routing.admission.stages.throttle import Throttle
from tidemill.storage.contract import DispositionKind, MemoryKey

__all__ = ["Decisions", "LiveKeys", "Pipeline"]

#: Stages that remember keys, and those that go by the time at which they decide.
_REMEMBERING = (Stage.IDEMPOTENCY, Stage.RATE_LIMIT, Stage.JOIN, Stage.THROTTLE)
_PACED = frozenset({Stage.THROTTLE, Stage.CONCURRENCY})


@dataclass(slots=True)
class Decisions:
    """What was decided and not taken away yet."""

    #: Final dispositions, with a detail and a run that is known already.
    settled: list[tuple[Member, DispositionKind, str, str | None]] = field(default_factory=list)
    starts: list[Item] = field(default_factory=list)
    #: Runs that are to be cancelled.
    cancels: list[str] = field(default_factory=list)
    #: Members whose rows change: held ones are written, the others deleted where they have one.
    touched: dict[int, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveKeys:
    """What a run that has not ended holds; kept with the run."""

    #: Key of its slot; None without a limit.
    slot: str | None = None
    #: Idempotency keys of its events, with their positions.
    open: Mapping[str, int] = field(default_factory=dict)
    #: Key under which it can be cancelled; None when it cannot.
    cancel: str | None = None


class Pipeline:
    """See above. `alarms` is told of every time at which something is due."""

    def __init__(
        self,
        name: str,
        spec: Admission,
        *,
        memory: Memory,
        paused: bool = False,
        max_held: int = 100_000,
        alarms: Alarms | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.memory = memory
        self.decisions = Decisions()
        self._max_held = max_held
        #: When the last happening was.
        self._at = 0
        self._alarms = alarms or Alarms()
        self._held: dict[int, Member] = {}
        self._live: dict[str, LiveKeys] = {}
        #: Cancel key → held members and live runs, where events can cancel.
        self._cancellable: dict[str, dict[int, Member]] = {}
        self._cancellable_runs: dict[str, dict[str, None]] = {}
        self._timers: list[tuple[int, int, str]] = []
        self._paced: list[tuple[int, int, str]] = []
        self._planned: dict[tuple[int, str], int] = {}
        self._pause = Pause(self, paused=paused) if spec.paused == "buffer" else None
        self._idempotency = None if spec.idempotency is None else Idempotency(spec.idempotency, self)
        self._concurrency = None if spec.concurrency is None else Concurrency(spec.concurrency, self)
        stages: list[StageMachine | None] = [
            self._pause,
            self._idempotency,
            RateLimit(spec.rate_limit, self) if spec.rate_limit else None,
            Join(spec.join, self) if spec.join else None,
            Debounce(spec.debounce, self) if spec.debounce else None,
            Batch(spec.batch, self) if spec.batch else None,
            Throttle(spec.throttle, self) if spec.throttle else None,
            self._concurrency,
        ]
        self._stages = [stage for stage in stages if stage is not None]
        self._by_stage = {stage.stage: stage for stage in self._stages}
        self._places = {stage.stage: place for place, stage in enumerate(self._stages)}
        self._remembering = [stage for stage in _REMEMBERING if stage in self._by_stage]
        self._tracks = bool(
            spec.concurrency or spec.cancel_on or (spec.idempotency and spec.idempotency.while_running)
        )

    @property
    def held(self) -> int:
        """Events that wait."""
        return len(self._held)

    @property
    def live(self) -> Mapping[str, LiveKeys]:
        """Runs that hold something until they end."""
        return self._live

    # ── what happens ──

    def admit(self, member: Member, at: int, now: int) -> None:
        """An event matched."""
        self._reach(at, now)
        self._advance(Item([member], member, at), 0, at, now)

    def _reach(self, at: int, now: int) -> None:
        """A happening: what was due before it rings, and nothing is planned for a time before it any more."""
        self.ring(at, now)
        self._at = max(self._at, at)

    def ring(self, horizon: int, now: int) -> None:
        """Everything that was due by `horizon`; what paces starts, by `now`."""
        while self._timers and self._timers[0][0] <= horizon:
            due, place, key = heapq.heappop(self._timers)
            self._ring(place, key, due, due, now)
        while self._paced and self._paced[0][0] <= now:
            due, place, key = heapq.heappop(self._paced)
            self._ring(place, key, due, now, now)

    def _ring(self, place: int, key: str, planned: int, at: int, now: int) -> None:
        if self._planned.get((place, key)) != planned:
            return  # an earlier plan for the key has rung
        del self._planned[place, key]
        for item in self._stages[place].ring(key, at, now):
            self._advance(item, place + 1, at, now)

    def ended(self, run: str, at: int, now: int) -> None:
        """A run of this trigger has ended."""
        self._reach(at, now)
        self.let_go(run)

    def let_go(self, run: str) -> None:
        """A run holds nothing any more, because it has ended or could not be made."""
        keys = self._live.pop(run, None)
        if keys is None:
            return
        if keys.cancel is not None:
            runs = self._cancellable_runs[keys.cancel]
            del runs[run]
            if not runs:
                del self._cancellable_runs[keys.cancel]
        if self._idempotency is not None:
            for key, position in keys.open.items():
                self._idempotency.close(key, position)
        if self._concurrency is not None and keys.slot is not None:
            for item in self._concurrency.ended(run, keys.slot):
                self._start(item)

    def cancel_key(self, key: str, position: int, at: int, now: int) -> None:
        """An event cancels what is held and what runs under `key`."""
        self._reach(at, now)
        found: dict[Item, Stage] = {}
        for member in list(self._cancellable.get(key, {}).values()):
            assert member.stage is not None and member.item is not None  # noqa: S101, PT018 - it is held
            found[member.item] = member.stage
            self._withdraw(member, f"by position {position}")
        self.decisions.cancels.extend(self._cancellable_runs.get(key, ()))
        for item, stage in found.items():
            self._by_stage[stage].discard(item)
        self._bring_again(
            [
                (self._places[stage], item)
                for item, stage in found.items()
                if item.members and stage in _PACED and not item.has_key_at(stage)
            ],
            at,
            now,
        )

    def _bring_again(self, astray: list[tuple[int, Item]], at: int, now: int) -> None:
        """Items whose present leads have other keys wait for, and count in, the limits of those keys."""
        astray.sort(key=lambda one: (-one[0], -one[1].priority, one[1].lead.position))
        for place, item in astray:
            self._advance(item, place, at, now)

    def resume(self, now: int) -> None:
        """Let go on what a pause has buffered, when the trigger is not paused any more."""
        for item in self._pause.drain() if self._pause is not None else ():
            at = item.lead.at
            self._reach(at, now)
            self._advance(item, 1, at, now)

    def _advance(self, item: Item, place: int, at: int, now: int) -> None:
        stages = self._stages
        while place < len(stages):
            going = stages[place].take(item, at, now)
            place += 1
            if len(going) == 1:
                item = going[0]
                continue
            for one in going:
                self._advance(one, place, at, now)
            return
        self._start(item)

    def _start(self, item: Item) -> None:
        for member in item.members:
            self._release(member)
        if self._tracks:
            self._follow(item.lead.run, self.keys_of(item))
        self.decisions.starts.append(item)

    def keys_of(self, item: Item) -> LiveKeys:
        """What the run of this item holds."""
        spec, lead = self.spec, item.lead
        opens = self._idempotency is not None and spec.idempotency and spec.idempotency.while_running
        place = PLACES[Stage.IDEMPOTENCY]
        cancels = {member.cancel_key for member in item.members} if spec.cancel_on else set()
        return LiveKeys(
            slot=lead.keys[PLACES[Stage.CONCURRENCY]] if self._concurrency is not None else None,
            open={member.keys[place]: member.position for member in item.members} if opens else {},
            # A run is cancelled by key only when all its events have that key.
            cancel=cancels.pop() if len(cancels) == 1 else None,
        )

    def _follow(self, run: str, keys: LiveKeys) -> None:
        self._live[run] = keys
        if keys.cancel is not None:
            self._cancellable_runs.setdefault(keys.cancel, {})[run] = None

    # ── what stages ask for ──

    def hold(self, item: Item, stage: Stage, key: str, since: int) -> bool:
        """See `Flow`."""
        fresh = sum(member.stage is None for member in item.members)
        if fresh and len(self._held) + fresh > self._max_held:
            self.settle_all(item, DispositionKind.DEAD_LETTERED, "admission_full")
            return False
        item.key, item.since = key, since
        for member in item.members:
            member.stage, member.item = stage, item
            self._held[member.position] = member
            self.decisions.touched[member.position] = member
            if self.spec.cancel_on is not None:
                self._cancellable.setdefault(member.cancel_key, {})[member.position] = member
        return True

    def touch(self, member: Member) -> None:
        """See `Flow`."""
        self.decisions.touched[member.position] = member

    def _release(self, member: Member) -> None:
        if member.stage is None:
            return
        member.stage = member.item = None
        del self._held[member.position]
        self.decisions.touched[member.position] = member
        if self.spec.cancel_on is not None:
            members = self._cancellable[member.cancel_key]
            del members[member.position]
            if not members:
                del self._cancellable[member.cancel_key]

    def settle(self, member: Member, kind: DispositionKind, detail: str, run: str | None = None) -> None:
        """See `Flow`."""
        self._release(member)
        if self._idempotency is not None:
            self._idempotency.close(member.keys[PLACES[Stage.IDEMPOTENCY]], member.position)
        self.decisions.settled.append((member, kind, detail, run))

    def settle_all(self, item: Item, kind: DispositionKind, detail: str) -> None:
        """See `Flow`."""
        for member in item.members:
            self.settle(member, kind, detail)

    def _withdraw(self, member: Member, detail: str) -> None:
        """Cancel a held member, of which its stage does not know yet."""
        item = member.item
        assert item is not None  # noqa: S101 - it is held
        self.settle(member, DispositionKind.CANCELLED, detail)
        lead = item.lead
        item.without(member)
        if item.members and item.lead is not lead:
            self.touch(item.lead)

    def plan(self, stage: Stage, key: str, due: int) -> None:
        """See `Flow`."""
        place = self._places[stage]
        due = max(due, self._at)
        planned = self._planned.get((place, key))
        if planned is not None and planned <= due:
            return
        self._planned[place, key] = due
        paced = stage in _PACED
        heapq.heappush(self._paced if paced else self._timers, (due, place, key))
        self._alarms.set(due, self.name, paced=paced)

    def cancel(self, run: str) -> None:
        """See `Flow`."""
        self.decisions.cancels.append(run)

    # ── what outlives the process ──

    def restore(self, items: Iterable[tuple[Stage, Item]], live: Mapping[str, LiveKeys], now: int) -> None:
        """What was held and what ran when the last process ended; stages that are gone let go of what they held."""
        for run, keys in live.items():
            self._follow(run, keys)
            if self._concurrency is not None and keys.slot is not None:
                self._concurrency.occupy(run, keys.slot)
            if self._idempotency is not None:
                for key, position in keys.open.items():
                    self._idempotency.reopen(key, position)
        homeless: list[tuple[Stage, Item]] = []
        for stage, item in items:
            for member in item.members:
                member.stage, member.item = stage, item
                self._held[member.position] = member
                if self.spec.cancel_on is not None:
                    self._cancellable.setdefault(member.cancel_key, {})[member.position] = member
                if self._idempotency is not None and stage is not Stage.PAUSE:
                    self._idempotency.open(member)
            machine = self._by_stage.get(stage)
            if machine is None:
                homeless.append((stage, item))
            else:
                machine.restore(item)
        for stage, item in homeless:
            following = [one.stage for one in self._stages if PLACES[one.stage] > PLACES[stage]]
            self._advance(item, len(self._stages) - len(following), now, now)

    def remembered_by(self, member: Member) -> Iterator[MemoryKey]:
        """What must be known of a member's keys before it goes on."""
        for stage in self._remembering:
            yield (self.name, stage.value, member.keys[PLACES[stage]])

    def members_beside(self, key: str) -> list[Member]:
        """Members of what may go on when `cancel_key` is called: of everything that has one under the key."""
        items = dict.fromkeys(member.item for member in self._cancellable.get(key, {}).values())
        return [member for item in items if item is not None for member in item.members]

    def due_members(self, horizon: int, now: int) -> list[Member]:
        """Members of what may go on when `ring` is called."""
        stages = self._stages
        due = {(stages[place].stage, key) for at, place, key in self._timers if at <= horizon}
        due |= {(stages[place].stage, key) for at, place, key in self._paced if at <= now}
        return [
            member
            for member in (self._held.values() if due else ())
            if member.item is not None and (member.stage, member.item.key) in due
        ]

    def changes(self) -> Sequence[Member]:
        """Members whose rows change, since the last call."""
        touched, self.decisions.touched = self.decisions.touched, {}
        return list(touched.values())
