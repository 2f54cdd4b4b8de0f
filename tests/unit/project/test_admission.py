"""The admission of a trigger: what it is read as, and every problem at its line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.project.admission import Join, JoinMode, Stage, Throttle, WhenFull

Problems = Callable[[str], list[str]]

TRIGGER = """triggers:
  - name: t
    filters: [{exact: {type: x}}]
    dag: report
    parameters: {state: $.data.s}
    admission:
"""


def written(admission: str, *, parameters: str = "{state: $.data.s}") -> str:
    lines = "".join(f"      {line}\n" for line in admission.strip().splitlines())
    return TRIGGER.replace("{state: $.data.s}", parameters) + lines


def test_admission_is_read_with_its_keys(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml",
        written(
            """
key: $.data.customer
idempotency: {key: $.data.order, ttl: 90s, while_running: true}
rate_limit: {limit: 5, period: 1m}
join:
  of: [{name: a, filters: [{exact: {type: x}}]}, {name: b, pattern: {type: [x]}}]
  need: sequence
  window: 2s
  lateness: 500ms
debounce: {period: 1s, max_wait: 3s, key: ''}
batch: {size: 10, period: 1s, bytes: 1000}
throttle: {limit: 2, period: 1h}
concurrency: {limit: 1, when_full: cancel_running}
priority: {path: $.data.p, default: 3}
cancel_on: {filters: [{exact: {type: stop}}], their_key: $.data.from}
paused: buffer
reduce: merge
"""
        ),
    )

    (trigger,) = folder.load().triggers
    admission = trigger.admission

    assert admission is not None
    keys = {stage.value: key.written for stage, key in admission.keys.items()}
    default = "$.data.customer"
    assert keys == {
        "idempotency": "$.data.order",
        "rate_limit": default,
        "join": default,
        "debounce": "",
        "batch": default,
        "throttle": default,
        "concurrency": default,
    }
    assert admission.idempotency is not None
    assert (admission.idempotency.ttl, admission.idempotency.while_running) == (90_000_000, True)
    assert isinstance(admission.join, Join)
    assert (admission.join.mode, admission.join.at_least, admission.join.window) == (
        JoinMode.SEQUENCE,
        2,
        2_000_000,
    )
    assert [part.name for part in admission.join.parts] == ["a", "b"]
    assert admission.throttle == Throttle(limit=2, period=3_600_000_000)
    assert admission.concurrency is not None
    assert admission.concurrency.when_full is WhenFull.CANCEL_RUNNING
    assert admission.cancel_on is not None
    assert admission.cancel_on.key is not None
    assert admission.cancel_on.key.written == "$.data.from"
    assert admission.cancel_key is not None
    assert admission.cancel_key.written == default
    assert (admission.paused, admission.collects) == ("buffer", True)
    assert Stage.PAUSE not in admission.keys


def test_trigger_without_admission_has_none(folder: Any) -> None:
    folder.write("triggers/t.yaml", TRIGGER.replace("    admission:\n", ""))

    assert folder.load().triggers[0].admission is None


EVENTS = [
    Event(id=str(number), source="/s", type="x", data=data)
    for number, data in enumerate([{"a": 1, "b": 1}, {"b": 2}, 5])
]


@pytest.mark.parametrize(
    ("reduce", "shown", "data"),
    [
        ("first", "first", None),
        ("last", "last", None),
        ("all", "last", [{"a": 1, "b": 1}, {"b": 2}, 5]),
        ("merge", "last", {"a": 1, "b": 2}),
        ("sums:total", "last", 3),
    ],
)
def test_events_of_a_run_are_reduced(folder: Any, reduce: str, shown: str, data: Any) -> None:
    folder.write(
        "workflows/sums.py", "def total(events):\n    return sum(e['data']['b'] for e in events[:2])\n"
    )
    folder.write("triggers/t.yaml", written(f"batch: {{period: 1s}}\nreduce: '{reduce}'"))

    (trigger,) = folder.load().triggers

    assert trigger.admission is not None
    assert trigger.admission.shown == shown
    found = None if trigger.admission.reduce is None else trigger.admission.reduce(EVENTS)
    assert found == data


JOIN = "join:\n  of: [{name: a, filters: []}, {name: b, filters: []}]\n  window: 1s\n"


@pytest.mark.parametrize(
    ("admission", "problem"),
    [
        ("debounce: {period: 1s, perod: 1s}", "7: unknown field 'perod'; did you mean 'period'?"),
        ("debounce: {period: 1s, max_wait: 100ms}", "7: 'max_wait' must be at least as long as 'period'"),
        (
            "debounce: {period: -1}",
            "7: 'period': must be a duration greater than zero and of at most ten years",
        ),
        ("batch: {period: 1s, size: 10001}", "7: 'size' must be at most 10000"),
        ("rate_limit: {limit: 0, period: 1s}", "7: 'limit' must be at least 1"),
        (
            "rate_limit: {limit: 1, period: 1s, key: $.dta.x}",
            "7: $.dta.x: an event has attributes such as $.type",
        ),
        ("idempotency: {ttl: 1s}", "7: idempotency has no key; say which value of an event it goes by"),
        ("idempotency: {key: $.id}", "7: one of ttl and while_running is missing"),
        (
            "concurrency: {limit: 1, when_full: wait}",
            "7: 'when_full' must be 'queue', 'drop', 'cancel_running' or",
        ),
        ("priority: $.data.p", "7: priority orders what waits in throttle or concurrency; there is neither"),
        (
            "priority: high\nthrottle: {limit: 1, period: 1s}",
            "7: 'priority' must be a whole number or a path to one",
        ),
        ("throttle: {limit: 1, period: 1s}\nreduce: all", "8: every run has one event"),
        (
            "batch: {period: 1s}\nreduce: most",
            "8: 'most' is none of first, last, all, merge and MODULE:FUNCTION",
        ),
        ("batch: {period: 1s}\nreduce: 'no:where'", "8: module 'no' cannot be imported"),
        (
            "batch: {period: 1s}\nreduce: 'orders:nothing'",
            "8: module 'orders' of workflows/ has no function 'nothing'",
        ),
        (JOIN + "  need: 3", "10: 'need' is 3, and there are 2 kinds"),
        (JOIN + "  lookback: 1s", "10: 'lookback' is for need: absence"),
        (JOIN + "  need: absence\n  lateness: 1s", "11: 'lateness' is not for need: absence"),
        (JOIN.replace("name: b", "name: a"), "8: 'a' is there twice"),
        (JOIN.replace("name: b, ", ""), "8: 'name' is missing"),
        (JOIN.replace("{name: b, filters: []}", "{name: b}"), "8: filters, pattern"),
        (JOIN.replace("filters: []}]", "pattern: {type: [{near: 1}]}}]"), "8: "),
        ("cancel_on: {key: $.data.k}", "7: filters, pattern"),
        (
            "cancel_on: {filters: [], their_key: $.data.k}",
            "7: 'their_key' needs a 'key' that it is compared with",
        ),
    ],
)
def test_problem_of_an_admission_is_at_its_line(problems_of: Problems, admission: str, problem: str) -> None:
    (found,) = problems_of(written(admission))

    assert found.startswith(problem)


def test_list_of_events_is_for_runs_that_have_several(problems_of: Problems) -> None:
    (found,) = problems_of(
        written("throttle: {limit: 1, period: 1s}", parameters="{state: '$.events[0].id'}")
    )

    assert found == "5: 'state' reads $.events, and every run has one event; read $ itself"
