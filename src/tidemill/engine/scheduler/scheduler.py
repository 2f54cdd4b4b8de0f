"""The scheduler: ready tasks go in, tasks whose turn it is come out, each with what it takes.

1. Nothing is ever taken that is not free: executors, pools, resources and limits are looked at again for each task.
2. A task that does not fit lets others pass, but only so many (`max_overtakings`) that take what it waits for. Then its
   lane is reserved for: others start only where that leaves what it waits for as near as it is, so that it starts at
   the latest when the attempts that run at that moment have ended.
3. Every wait ends while something ends: within a lane, by shares (see `sharing`), and within a share, by levels that
   rise with time (see `queue`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from tidemill.dag.definition import Dag
from tidemill.dag.policy import DEFAULT_POOL
from tidemill.engine.live import LiveRun
from tidemill.engine.scheduler.amounts import Amounts, Stock, shown
from tidemill.engine.scheduler.ask import Ask
from tidemill.engine.scheduler.deadlines import Deadlines
from tidemill.engine.scheduler.grant import Grant
from tidemill.engine.scheduler.lane import Lane
from tidemill.engine.scheduler.limit import Limit
from tidemill.engine.scheduler.pool import ExecutorSlots, Pool, PoolLimit, Sharing
from tidemill.engine.scheduler.queue import Entry
from tidemill.engine.scheduler.sharing import Flow
from tidemill.engine.scheduler.standing import Plan, Standing, key_of
from tidemill.engine.scheduler.ticket import Ticket

__all__ = ["Rank", "Scheduler"]

#: How much hangs on a task run; larger first among equals.
Rank = Callable[[LiveRun, int], float]

#: Versions of DAGs whose plans are kept.
_PLANS = 1000

Key = TypeVar("Key")


class Scheduler:
    """See above. `tick` tells it the time; it holds for what follows."""

    def __init__(
        self,
        executors: Mapping[str, int],
        *,
        pools: Mapping[str, PoolLimit] | None = None,
        stock: Mapping[str, float] | None = None,
        aging_seconds: float = 300.0,
        max_overtakings: int = 64,
    ) -> None:
        """`executors` by name with their sizes, `stock` what this machine has (see `Stock`)."""
        self.executors = {name: ExecutorSlots(size) for name, size in executors.items()}
        self.stock = Stock(stock or {})
        #: Breaks ties of priority and age; None where nothing does but the order of readiness.
        self.rank: Rank | None = None
        self.now = 0
        self._aging_us = max(1, round(aging_seconds * 1_000_000))
        self._max_overtakings = max_overtakings
        self._limits: dict[str, PoolLimit] = {DEFAULT_POOL: PoolLimit(max_queued=200_000), **(pools or {})}
        #: By name; the default pool also by executor.
        self._pools: dict[tuple[str, str], Pool] = {}
        self._lanes: dict[tuple[str, str, int, Amounts], Lane] = {}
        #: Lanes with something waiting.
        self._busy: dict[Lane, None] = {}
        self._reserved: Lane | None = None
        self._plans: dict[tuple[str, str], Plan] = {}
        #: By DAG and task, for `max_active`.
        self._active: dict[tuple[str, str], Limit] = {}
        #: Limits under which a place has become free, or may have.
        self._open: dict[Limit, None] = {}
        self.deadlines = Deadlines()
        #: What has come since the last choice: it is ranked only where not all of it can start at once.
        self._fresh: list[tuple[Flow, Entry]] = []
        #: Of those, what starts as it came: there is room for all of it.
        self._direct: deque[tuple[Flow, Entry]] = deque()
        #: Waiting tasks that can never start any more, with the reason; whoever starts tasks fails them.
        self.doomed: list[tuple[Ticket, str]] = []
        self._aside = 0
        self._turn = 0
        self._level = 0
        self._level_ends = 0
        #: What `next` gave last.
        self._lane: Lane | None = None
        self._flow: Flow | None = None
        self._ticket: Ticket | None = None

    # ── what comes in ──

    def tick(self, now: int) -> None:
        """What is said from here on is said at `now`."""
        passed = now - self.now
        if passed > 0:
            for lane in self._busy:
                lane.pool.waited += lane.sharers.count * passed
            self.now = now
        if now >= self._level_ends:
            self._level = now // self._aging_us
            self._level_ends = (self._level + 1) * self._aging_us

    def enter(self, live: LiveRun) -> None:
        """A run is worked on from now on; before anything of it is queued."""
        plan = self.plan(live.dag)
        if self._limits[DEFAULT_POOL].sharing is Sharing.KEY or plan.asks is not None:
            live.standing = Standing(plan, key_of(live.run), {})
        else:
            live.standing = Standing(plan, "", plan.flows)

    def leave(self, live: LiveRun) -> None:
        """A run has ended, or is another node's: nothing of it waits any more."""
        standing = live.standing
        if standing is not None and standing.tickets:
            for ticket in list(standing.tickets.values()):
                self._close(ticket)

    def plan(self, dag: Dag) -> Plan:
        """What is worked out once for each version."""
        key = (dag.dag_id, dag.version)
        plan = self._plans.get(key)
        if plan is None or plan.dag is not dag:
            self._plans.pop(key, None)
            if len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]
            plan = self._plans[key] = Plan(dag)
            for pool in self._pools.values():
                if (account := pool.accounts.get((dag.dag_id,))) is not None:
                    account.weight = plan.weight
        return plan

    def queue(self, live: LiveRun, index: int) -> Ticket | None:
        """A ready or due task waits for its turn. A task that asks for something has a ticket, returned as long as
        it was not given one before.
        """
        standing = live.standing
        node = live.state.node(index)
        asks = standing.plan.asks
        ask = None if asks is None or node.index >= len(asks) else asks[node.index]
        if ask is not None:
            return self._queue_ticket(live, index, ask)
        flow = standing.flows.get(node.executor) or self._plain_flow(live, node.executor)
        self._turn = turn = self._turn + 1
        self._fresh.append((flow, (self._level, 0.0, turn, live, index, None)))
        return None

    def _queue_ticket(self, live: LiveRun, index: int, ask: Ask) -> Ticket | None:
        known = live.standing.tickets.get(index)
        if known is not None:  # it was set aside
            self.wait(known)
            return None
        self._turn = turn = self._turn + 1
        rank = 0.0 if self.rank is None else -self.rank(live, index)
        ticket = Ticket(live, index, ask, self.now, self._level - ask.priority, rank, turn)
        ticket.limits = tuple(self._limits_of(live, ask))
        live.standing.tickets[index] = ticket
        if ask.start_timeout is not None:
            self.deadlines.add(self.now + ask.start_timeout, ticket)
        return ticket

    def wait(self, ticket: Ticket) -> None:
        """A ticket takes its place in the queue of its lane."""
        if ticket.is_queued or not ticket.is_open:
            return
        ask = ticket.ask
        lane = self._lane_of(ask.pool, ask.executor, ask.slots, ask.resources)
        plan = ticket.live.standing.plan
        ticket.is_queued = True
        flow = lane.flow(ask.dag_id, plan.weight, ticket.live.standing.key, now=self.now)
        flow.push(ticket.entry)
        self._busy[lane] = None

    def lacks(self, ask: Ask) -> str | None:
        """Why a task can never start here, as things are; None when it can."""
        lack = self.stock.lacks(ask.resources)
        if lack is not None:
            name, asked, total = lack
            return f"asks {name} {shown(asked)}, this machine has {shown(total)}"
        limit = self._limits.get(ask.pool)
        if limit is None:
            return f"asks pool {ask.pool}, which is not there"
        if limit.slots and ask.slots > limit.slots:
            return f"asks {ask.slots} slots of pool {ask.pool}, which has {limit.slots}"
        return None

    # ── what comes out ──

    def next(self) -> Entry | None:
        """The task whose turn it is and for which everything is free; follow it by `take` or `pass_over`."""
        if self._fresh and not self._direct:
            self._look_at_fresh()
        if self._direct:
            self._flow, entry = self._direct.popleft()
            self._lane, self._ticket = self._flow.lane, None
            return entry
        while True:
            if self._open:
                self._let_go()
            lane = self._choose() if len(self._busy) > 1 else self._only()
            if lane is None:
                if self._open:
                    continue
                return None
            sharers = lane.sharers
            flow = sharers.only or sharers.flow()
            entry = flow.pop()
            if not sharers.count:
                self._idle(lane)
            ticket = entry[5]
            if ticket is not None:
                ticket.is_queued = False
                if not ticket.is_waiting:
                    self._close(ticket)
                    continue
                if ticket.limits and self._is_full(ticket):
                    continue
            self._lane, self._flow, self._ticket = lane, flow, ticket
            return entry

    def take(self) -> Grant:
        """What `next` gave has started: what its attempt has, until `release`."""
        lane, flow, ticket = self._lane, self._flow, self._ticket
        assert lane is not None  # noqa: S101 - `next` came before
        assert flow is not None  # noqa: S101 - `next` came before
        grant = flow.grant or lane.grant(flow) if ticket is None else self._granted(lane, flow, ticket)
        grant.executor.free -= 1
        pool, slots = grant.pool, grant.slots
        pool.used += slots
        pool.started += 1
        account = grant.account
        if account.alone:
            account.used += slots
        else:
            account.change(slots, self.now)
        if lane.passed:
            lane.passed = 0
            if lane is self._reserved:
                self._reserved = None
        return grant

    def hand_over(self, grant: Grant, live: LiveRun, index: int) -> bool:
        """The attempt has ended, and a task of its run that has just become ready takes what it had; False when it asks
        for something else, or anybody waits: then nothing was done.
        """
        if self._busy or self._fresh or self._direct or grant.executor.free < 0:
            return False
        standing, node = live.standing, live.dag.tasks[index]
        asks, flow = standing.plan.asks, standing.flows.get(node.executor)
        if flow is None or flow.grant is not grant or (asks is not None and asks[index] is not None):
            return False
        grant.pool.started += 1
        account = grant.account
        if not account.alone:
            account.change(-grant.slots, self.now)
            account.change(grant.slots, self.now)
        return True

    def _granted(self, lane: Lane, flow: Flow, ticket: Ticket) -> Grant:
        limits = ticket.limits
        if limits:
            if ticket.out_of is not None:
                ticket.out_of.out -= 1
                ticket.out_of = None
            for limit in limits:
                limit.used += 1
        ticket.is_open = False
        del ticket.live.standing.tickets[ticket.index]
        if not (lane.resources or limits):
            return flow.grant or lane.grant(flow)
        holding = self.stock.take(lane.resources) if lane.resources else None
        return Grant(lane.executor, lane.pool, flow.account, lane.slots, holding, limits)

    def pass_over(self, *, is_gone: bool = False) -> None:
        """What `next` gave does not start: it is queued again later, or (`is_gone`) never."""
        ticket = self._ticket
        if ticket is None:
            return
        if is_gone:
            self._close(ticket)
            return
        self._forget_place(ticket)

    def release(self, grant: Grant) -> None:
        """The attempt has ended, or will never begin."""
        grant.executor.free += 1
        slots = grant.slots
        grant.pool.used -= slots
        account = grant.account
        if account.alone:
            account.used -= slots
        else:
            account.change(-slots, self.now)
        if grant.holding is not None:
            self.stock.give(grant.holding)
        for limit in grant.limits:
            limit.used -= 1
            self._open[limit] = None
        if (
            account.parent is not None
            and not account.used
            and not any(one.count for _, one in account.places)
        ):
            for flow in [one for _, one in account.places if isinstance(one, Flow)]:
                flow.lane.forget(flow)

    def close(self, ticket: Ticket) -> None:
        """Its task does not wait any more (it has failed, for example)."""
        self._close(ticket)

    # ── limits ──

    def set_limit(self, name: str, limit: PoolLimit | None) -> None:
        """What a pool lets in from now on; None: there is no such pool any more, which pauses it."""
        was = self._limits.get(name)
        if limit is None:
            self._limits.pop(name, None)
            limit = PoolLimit(slots=0)
        else:
            if was is not None:
                limit = replace(limit, sharing=was.sharing)
            self._limits[name] = limit
        for (pool_name, _), pool in self._pools.items():
            if pool_name == name:
                pool.limit = limit
        for shape, lane in self._lanes.items():
            if shape[0] == name and not lane.is_possible and limit.slots:
                self._doom(lane)

    def _doom(self, lane: Lane) -> None:
        while (entry := lane.sharers.first()) is not None:
            ticket = entry[5]
            assert ticket is not None  # noqa: S101 - named pools know only tickets
            lane.sharers.pop()
            ticket.is_queued = False
            reason = self.lacks(ticket.ask)
            if reason is None:
                self.wait(ticket)
                return
            self.doomed.append((ticket, reason))
        self._idle(lane)

    @property
    def limits(self) -> Mapping[str, PoolLimit]:
        """The pools and what they let in."""
        return self._limits

    def holds_back(self, dag: Dag) -> bool:
        """Whether a pool that the DAG uses has so much waiting that no further run of it should begin."""
        return any(
            (limit := self._limits.get(name)) is not None and self.queued(name) >= limit.max_queued
            for name in self.plan(dag).pools
        )

    # ── numbers ──

    @property
    def is_overdue(self) -> bool:
        """Whether a waiting task must be given up now."""
        if self.doomed:
            return True
        due = self.deadlines.next
        return due is not None and due <= self.now

    @property
    def running(self) -> int:
        """Attempts that have what they need."""
        return sum(slots.size - slots.free for slots in self.executors.values())

    @property
    def waiting(self) -> int:
        """Tasks in queues, or set aside by a limit."""
        return (
            sum(lane.sharers.count for lane in self._busy)
            + self._aside
            + len(self._fresh)
            + len(self._direct)
        )

    def queued(self, pool: str) -> int:
        """Tasks in the queues of a pool."""
        return sum(lane.sharers.count for lane in self._busy if lane.pool.name == pool)

    def pools(self, name: str) -> list[Pool]:
        """The pool of this name, by executor for the default one."""
        return [pool for (pool_name, _), pool in self._pools.items() if pool_name == name]

    # ── inside ──

    def _plain_flow(self, live: LiveRun, executor: str) -> Flow:
        standing = live.standing
        lane = self._lane_of(DEFAULT_POOL, executor, 1, ())
        flow = lane.flow(live.run.dag, standing.plan.weight, standing.key, now=self.now)
        if standing.flows is standing.plan.flows:
            standing.flows[executor] = flow
        return flow

    def _lane_of(self, pool: str, executor: str, slots: int, resources: Amounts) -> Lane:
        shape = (pool, executor, slots, resources)
        lane = self._lanes.get(shape)
        if lane is None:
            where = (pool, executor if pool == DEFAULT_POOL else "")
            found = self._pools.get(where)
            if found is None:
                found = self._pools[where] = Pool(pool, self._limits.get(pool) or PoolLimit(slots=0))
            lane = self._lanes[shape] = Lane(
                found, self.executors[executor], slots=slots, resources=resources, stock=self.stock
            )
        return lane

    def _look_at_fresh(self) -> None:
        """Where all that has come since the last choice can start now and nothing else waits, it does, as it came; else
        it is queued, with its ranks where there is a choice.
        """
        fresh, self._fresh = self._fresh, []
        if not self._busy:
            executor = fresh[0][0].lane.executor
            if len(fresh) <= executor.free and all(flow.lane.executor is executor for flow, _ in fresh):
                self._direct.extend(fresh)
                return
        waiting = Counter(flow.lane.executor for flow, _ in fresh)
        for lane in self._busy:
            waiting[lane.executor] += lane.sharers.count
        for flow, entry in fresh:
            executor = flow.lane.executor
            if self.rank is not None and waiting[executor] > executor.free:
                level, _, turn, live, index, _ = entry
                entry = (level, -self.rank(live, index), turn, live, index, None)
            flow.push(entry)
            self._busy[flow.lane] = None

    def _only(self) -> Lane | None:
        """The one lane in which something waits, if that fits."""
        for lane in self._busy:
            return lane if lane.sharers.count and lane.fits else None
        return None

    def _choose(self) -> Lane | None:
        """The lane whose next task starts next."""
        busy = self._busy
        best: Lane | None = None
        best_key: tuple[float, ...] = ()
        blocked: list[Lane] = []
        reserved = self._reserved
        if reserved is not None:
            if reserved.sharers.first() is None:
                self._idle(reserved)
                reserved = None
            elif not reserved.is_possible:
                self._reserved = reserved = None
            elif reserved.fits:
                return reserved
        for lane in list(busy):
            if not lane.fits:
                blocked.append(lane)
                continue
            if reserved is not None and not lane.spares(reserved):
                continue
            key = self._key(lane)
            if key is None:
                self._idle(lane)
            elif best is None or key < best_key:
                best, best_key = lane, key
        if best is not None and blocked:
            self._count_overtaking(best, blocked)
        return best

    def _key(self, lane: Lane) -> tuple[float, ...] | None:
        """Its place among other lanes; None when nothing waits in it."""
        one = lane.sharers.only or lane.sharers.next()
        if one is None:
            return None
        account = one.account
        weight = account.weight
        return (lane.pool.share, account.used / weight, account.served / weight, *one.peek()[:3])

    def _count_overtaking(self, best: Lane, blocked: list[Lane]) -> None:
        for lane in blocked:
            if best.contends_with(lane) and lane.is_possible:
                if lane.sharers.first() is None:
                    self._idle(lane)
                    continue
                lane.passed += 1
                if lane.passed >= self._max_overtakings and self._reserved is None:
                    self._reserved = lane

    def _idle(self, lane: Lane) -> None:
        """Nothing waits in the lane."""
        self._busy.pop(lane, None)
        lane.passed = 0
        if lane is self._reserved:
            self._reserved = None

    def _limits_of(self, live: LiveRun, ask: Ask) -> list[Limit]:
        found = []
        if ask.max_active is not None:
            found.append(_sized(self._active, (ask.dag_id, ask.task_id), ask.max_active))
        if ask.max_active_per_run is not None:
            found.append(_sized(live.standing.limits, ask.task_id, ask.max_active_per_run))
        return found

    def _is_full(self, ticket: Ticket) -> bool:
        """Whether a limit has set the ticket aside."""
        for limit in ticket.limits:
            if not limit.has_room(ticket):
                self._forget_place(ticket)
                limit.set_aside(ticket)
                ticket.is_queued = True
                self._aside += 1
                return True
        return False

    def _forget_place(self, ticket: Ticket) -> None:
        limit = ticket.out_of
        if limit is not None:
            limit.out -= 1
            ticket.out_of = None
            self._open[limit] = None

    def _let_go(self) -> None:
        limits, self._open = self._open, {}
        for limit in limits:
            aside = limit.aside
            if not aside:
                continue
            before = len(aside)
            for ticket in limit.let_go():
                ticket.is_queued = False
                self.wait(ticket)
            self._aside -= before - len(aside)

    def _close(self, ticket: Ticket) -> None:
        ticket.is_open = False
        self._forget_place(ticket)
        standing = ticket.live.standing
        if standing.tickets.get(ticket.index) is ticket:
            del standing.tickets[ticket.index]


def _sized(limits: dict[Key, Limit], key: Key, size: int) -> Limit:
    """The limit of that name, as large as the latest version says."""
    limit = limits.get(key)
    if limit is None:
        limit = limits[key] = Limit(size)
    limit.size = size
    return limit
