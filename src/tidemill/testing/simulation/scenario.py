"""What happens in a simulation: DAGs, triggers, subscriptions and messages, drawn by seed.

Plain values: the world acts on them, the model checks against them, and neither asks the other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.testing.simulation.chance import Chance

__all__ = [
    "DagSpec",
    "Message",
    "Scenario",
    "SubscriptionSpec",
    "TaskSpec",
    "TriggerSpec",
    "draw_scenario",
    "task_of",
]

#: Seconds in which messages are sent.
_SPAN = 45.0
_RULES = ("all_success", "all_success", "all_done", "none_failed", "one_failed", "one_success")
_KEYS = ("a", "b", "c")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task."""

    name: str
    upstream: tuple[str, ...]
    max_attempts: int
    retry_delay: float
    timeout: float | None
    #: Not a coroutine function.
    is_plain: bool
    #: Trigger rule.
    rule: str = "all_success"
    #: It returns a list of so many items; None: a number.
    size: int | None = None
    #: The upstream task over whose list it is mapped.
    over: str | None = None
    #: It says now and then that there is nothing to do.
    skips: bool = False
    #: It returns the names of the tasks right below it that go on.
    branches: bool = False
    #: It takes no slot: "sleep", or "event" (the first one of `wanted`, and of `key` where given; else it is skipped).
    wait: str | None = None
    wait_seconds: float = 0.0
    wanted: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSpec:
    """One DAG."""

    name: str
    tasks: tuple[TaskSpec, ...]
    max_active_runs: int | None
    max_active_tasks: int | None
    #: Seconds between its ticks.
    every: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSpec:
    """One trigger: `types` and `source` (None: any) decide what matches."""

    name: str
    dag: str
    types: tuple[str, ...]
    source: str | None = None
    #: As in a trigger file.
    admission: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """One subscription to events whose type begins with `prefix`."""

    name: str
    prefix: str
    ordered: bool
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One event that somebody outside has to tell."""

    number: int
    #: Seconds since the beginning.
    at: float
    #: "http", "stream" (a partitioned log) or "folder".
    via: str
    type: str
    key: str
    partition: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that is asked of the service."""

    dags: tuple[DagSpec, ...]
    triggers: tuple[TriggerSpec, ...]
    subscriptions: tuple[SubscriptionSpec, ...]
    messages: tuple[Message, ...]
    #: (seconds, what): "start", "cancel" and "retry" of an operator.
    orders: tuple[tuple[float, str], ...]
    #: Of the service.
    settings: Mapping[str, Any]

    def dag(self, name: str) -> DagSpec:
        """The DAG of that name."""
        return next(dag for dag in self.dags if dag.name == name)


def task_of(name: str) -> str:
    """The task that a task run belongs to: `load` of `load[3]`."""
    return name.partition("[")[0]


def draw_scenario(chance: Chance) -> Scenario:
    """The scenario of a seed."""
    draw = chance.stream("scenario")
    dags = tuple(_draw_dag(draw, number) for number in range(draw.randint(2, 4)))
    triggers = [_draw_trigger(draw, number, dags) for number in range(draw.randint(2, 4))]
    if draw.random() < 0.6:
        triggers += _draw_chain(draw, dags)
    types = sorted(
        {one for trigger in triggers for one in trigger.types if one.startswith("app.")} | {"app.lone"}
    )
    return Scenario(
        dags=dags,
        triggers=tuple(triggers),
        subscriptions=tuple(_draw_subscription(draw, number) for number in range(draw.randint(1, 2))),
        messages=tuple(_draw_messages(draw, types)),
        orders=tuple(
            sorted(
                (draw.uniform(1, _SPAN), draw.choice(("start", "cancel", "cancel", "retry")))
                for _ in range(6)
            )
        ),
        settings={
            "max_running_tasks": draw.choice((2, 8, 256)),
            "thread_workers": draw.choice((1, 4)),
            "max_live_runs": draw.choice((3, 1000)),
            "max_hops": 3,
            "max_recoveries": draw.choice((1, 50, 50)),
        },
    )


def _draw_dag(draw: random.Random, number: int) -> DagSpec:
    names = [f"t{place}" for place in range(draw.randint(1, 5))]
    shape = draw.choice(("chain", "fan", "random"))
    #: Half of the graphs are plain: they go another, faster way.
    is_rich = draw.random() < 0.5
    tasks: list[TaskSpec] = []
    for place, name in enumerate(names):
        before = names[:place]
        if shape == "chain":
            upstream = before[-1:]
        elif shape == "fan":
            upstream = names[1:-1] if place and place == len(names) - 1 > 1 else before[:1]
        else:
            upstream = [one for one in before if draw.random() < 0.5]
        lists = [one.name for one in tasks if one.size is not None and one.wait is None]
        listers = [one for one in lists if one in upstream]
        over = listers[0] if listers and draw.random() < 0.8 else None
        tasks.append(
            TaskSpec(
                name=name,
                upstream=tuple(upstream),
                max_attempts=draw.choice((1, 2, 3)),
                retry_delay=draw.choice((0.1, 2.0, 40.0)),
                timeout=draw.choice((None, None, 3.0)),
                is_plain=draw.random() < 0.2,
                rule=draw.choice(_RULES) if upstream and over is None and is_rich else "all_success",
                size=draw.randint(0, 4) if is_rich and over is None and draw.random() < 0.4 else None,
                over=over,
                skips=is_rich and draw.random() < 0.3,
                wait=draw.choice(("sleep", "event"))
                if is_rich and over is None and draw.random() < 0.2
                else None,
                wait_seconds=draw.choice((0.5, 10.0, 30.0)),
                wanted=f"app.{draw.choice('xyz')}",
                key=draw.choice(("", "", *_KEYS)),
            )
        )
    return DagSpec(
        name=f"d{number}",
        tasks=tuple(_as_branch(draw, task, tasks) if is_rich else task for task in tasks),
        max_active_runs=draw.choice((None, 16, 2)),
        max_active_tasks=draw.choice((None, None, 1)),
        every=draw.choice((7, 20)) if draw.random() < 0.2 else None,
    )


def _as_branch(draw: random.Random, task: TaskSpec, tasks: list[TaskSpec]) -> TaskSpec:
    """Now and then a task that chooses among those right below it."""
    below = [one for one in tasks if task.name in one.upstream]
    is_plain_task = task.over is None and task.wait is None and task.size is None
    chooses = is_plain_task and len(below) > 0 and draw.random() < 0.25
    return replace(task, branches=True) if chooses else task


def _draw_trigger(draw: random.Random, number: int, dags: tuple[DagSpec, ...]) -> TriggerSpec:
    types: tuple[str, ...] = (f"app.{draw.choice('xyz')}",)
    kind = draw.choice(
        ("none", "none", "idempotency", "rate_limit", "debounce", "batch", "throttle", "concurrency", "join")
    )
    key = "$.data.key"
    period = draw.choice((1, 5, 15))
    admission: dict[str, Any] = {}
    match kind:
        case "idempotency":
            admission = {"key": key, "idempotency": {"ttl": f"{period * 3}s"}}
        case "rate_limit":
            admission = {"key": key, "rate_limit": {"limit": 2, "period": f"{period}s"}}
        case "debounce":
            admission = {"key": key, "debounce": {"period": f"{period}s"}}
            if draw.random() < 0.5:
                admission["debounce"]["max_wait"] = f"{period * 2}s"
        case "batch":
            admission = {"key": key, "batch": {"size": draw.choice((2, 4)), "period": f"{period}s"}}
        case "throttle":
            admission = {"key": key, "throttle": {"limit": 1, "period": f"{period}s"}}
        case "concurrency":
            full = draw.choice(("queue", "queue", "drop", "coalesce", "cancel_running"))
            admission = {"key": key, "concurrency": {"limit": draw.choice((1, 2)), "when_full": full}}
        case "join":
            types = ("app.x", "app.y")
            admission = {"join": {"key": key, "of": list(types), "need": "all", "window": f"{period * 2}s"}}
    return TriggerSpec(name=f"on{number}", dag=draw.choice(dags).name, types=types, admission=admission)


def _draw_chain(draw: random.Random, dags: tuple[DagSpec, ...]) -> list[TriggerSpec]:
    """One DAG starts another when it has ended; now and then that one starts the first."""
    first, second = dags[0].name, dags[1].name
    ends = tuple(f"dev.tidemill.run.{state}.v1" for state in ("succeeded", "failed"))
    chain = [TriggerSpec(name="then", dag=second, types=ends, source=f"/tidemill/dags/{first}")]
    if draw.random() < 0.5:
        chain.append(TriggerSpec(name="again", dag=first, types=ends[:1], source=f"/tidemill/dags/{second}"))
    return chain


def _draw_subscription(draw: random.Random, number: int) -> SubscriptionSpec:
    return SubscriptionSpec(
        name=f"s{number}",
        prefix=draw.choice(("dev.tidemill.run.", "dev.tidemill.run.", "app.")),
        ordered=draw.random() < 0.5,
        max_attempts=draw.choice((2, 4)),
    )


def _draw_messages(draw: random.Random, types: list[str]) -> list[Message]:
    ways = draw.choice((("http",), ("http", "stream"), ("stream", "folder"), ("http", "stream", "folder")))
    bursts = draw.random() < 0.3
    messages = []
    for number in range(draw.randint(20, 60)):
        at = draw.uniform(0, _SPAN)
        messages.append(
            Message(
                number=number,
                at=at - at % 10 if bursts else at,
                via=draw.choice(ways),
                type=draw.choice(types),
                key=draw.choice(_KEYS),
                partition=draw.randrange(2),
            )
        )
    return sorted(messages, key=lambda message: message.at)
