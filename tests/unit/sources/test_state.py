"""The states of a source: one table, one log event for each change."""

from __future__ import annotations

import itertools
import logging

import pytest

from tidemill.errors import InvalidTransition
from tidemill.sources.contract import SourceState
from tidemill.sources.report import SourceReport
from tidemill.sources.state import TRANSITIONS, StateMachine
from tidemill.storage.contract import Appended
from tidemill.telemetry.names import LOG_EVENTS
from tidemill.testing.clock import ManualClock


def reach(machine: StateMachine, wanted: SourceState) -> None:
    """Walk the table from `starting` to a state."""
    ways = {SourceState.STARTING: [SourceState.STARTING]}
    for _ in SourceState:
        for at, way in list(ways.items()):
            for after in TRANSITIONS[at]:
                ways.setdefault(after, [*way, after])
    for state in ways[wanted][1:]:
        machine.become(state)


def test_every_state_has_its_row_and_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(SourceState)
    assert set(itertools.chain(*TRANSITIONS.values())) == set(SourceState)
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SourceState, SourceState)), ids=str)
def test_machine_walks_the_table_and_nothing_else(before: SourceState, after: SourceState) -> None:
    machine = StateMachine("inbox", "files")
    reach(machine, before)

    if after is before or after in TRANSITIONS[before]:
        machine.become(after)
        assert machine.state is after
    else:
        with pytest.raises(InvalidTransition, match="source inbox"):
            machine.become(after)
        assert machine.state is before


def test_each_change_is_one_log_event_and_staying_is_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    report = SourceReport("inbox", kind="files", clock=ManualClock())

    report.live()
    report.live()
    report.degrade("a link is slow")
    report.degrade("a link is slow")
    report.degrade("a link is down")
    report.stall("no way in")
    report.stall("still no way in")
    report.live()
    report.stop()
    report.begin()
    report.live()

    assert [(record.message, getattr(record, "error", "")) for record in caplog.records] == [
        ("source.started", ""),
        ("source.degraded", "a link is slow"),
        ("source.degraded", "a link is down"),
        ("source.stalled", "no way in"),
        ("source.recovered", ""),
        ("source.stopped", ""),
        ("source.started", ""),
    ]
    known = {event.name: event for event in LOG_EVENTS}
    assert all(known[record.message].level == record.levelname for record in caplog.records)


def test_report_counts_what_the_log_answered() -> None:
    clock = ManualClock()
    report = SourceReport("inbox", kind="files", clock=clock)

    report.count([Appended(1), Appended(2), Appended(1, duplicate=True), Appended(0)], 2)
    clock.advance(5)
    report.count([Appended(2, duplicate=True)])

    status = report.status(7)
    assert (status.accepted, status.duplicates, status.refused, status.lag) == (2, 2, 3, 7)
    assert status.last_event_at == clock.now_us() - 5_000_000
