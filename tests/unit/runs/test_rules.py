"""Trigger rules as a table: what becomes of a task below two others, by how these ended (as Airflow has it)."""

from __future__ import annotations

import pytest
from tests.unit.runs.graphs import make_dag

from tidemill.dag.policy import TriggerRule
from tidemill.runs import decide
from tidemill.runs.records import Failure, Record
from tidemill.runs.rules import Tally, Verdict, verdict
from tidemill.runs.state import RunState, TaskState

#: Columns: both upstream tasks, S succeeded, F failed, U upstream_failed, K skipped, - not ended.
#: Cells: R it starts, K it is skipped, U it is upstream_failed, - open.
TABLE = """
                             SS SF SU SK S- FF FU FK F- UU UK U- KK K- --
all_success                  R  U  U  K  -  U  U  U  U  U  U  U  K  K  -
all_failed                   K  K  K  K  K  R  R  K  -  R  K  -  K  K  -
all_done                     R  R  R  R  -  R  R  R  -  R  R  -  R  -  -
all_skipped                  K  K  K  K  K  K  K  K  K  K  K  K  R  -  -
one_success                  R  R  R  R  R  U  U  U  -  U  U  -  K  -  -
one_failed                   K  R  R  K  -  R  R  R  R  R  R  R  K  -  -
one_done                     R  R  R  R  R  R  R  R  R  K  K  -  K  -  -
none_failed                  R  U  U  R  -  U  U  U  U  U  U  U  R  -  -
none_failed_min_one_success  R  U  U  R  -  U  U  U  U  U  U  U  K  -  -
none_skipped                 R  R  R  K  -  R  R  K  -  R  K  -  K  K  -
always                       R  R  R  R  R  R  R  R  R  R  R  R  R  R  R
"""
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(row[0], pair, cell) for row in _ROWS for pair, cell in zip(_HEAD, row[1:], strict=True)]
FAILURE = Failure("ValueError", "no")


def test_table_has_every_rule_and_every_pair() -> None:
    assert {row[0] for row in _ROWS} == set(TriggerRule)
    assert len(_HEAD) == 15
    assert len(CELLS) == 15 * len(TriggerRule)


@pytest.mark.parametrize(("rule", "pair", "cell"), CELLS)
def test_verdict_is_that_of_the_table(rule: str, pair: str, cell: str) -> None:
    tally = Tally(
        2,
        success=pair.count("S"),
        failed=pair.count("F"),
        upstream_failed=pair.count("U"),
        skipped=pair.count("K"),
    )

    found = verdict(TriggerRule(rule), tally)

    assert found == {"R": Verdict.START, "K": Verdict.SKIP, "U": Verdict.UPSTREAM_FAILED, "-": None}[cell]


@pytest.mark.parametrize(("rule", "pair", "cell"), CELLS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_run_follows_the_table_whichever_upstream_task_ends_first(
    rule: str, pair: str, cell: str, order: tuple[int, int]
) -> None:
    # t0 → t2 and t1 → t3 end as the pair says (t0 and t1 are there to fail them), and t4 waits for both with the rule.
    dag = make_dag([[], [], [0], [1], [2, 3]], changes={4: {"rule": TriggerRule(rule)}})
    state, into, at = RunState("r", dag), list[Record](), 0
    decide.start(state, at, into)
    settled: list[str] = []

    for place in order:
        settled.append(pair[place])
        _end(state, place, pair[place], into)
        if state.tasks[4] is not TaskState.PENDING:
            break

    final = {"R": "ready", "K": "skipped", "U": "upstream_failed", "-": "pending"}
    partial = "".join(sorted(settled, key="SFUK-".index)).ljust(2, "-")
    expected = dict(zip(_HEAD, next(row for row in _ROWS if row[0] == rule)[1:], strict=True))
    assert str(state.tasks[4]) == final[expected[partial]]


def _end(state: RunState, place: int, how: str, into: list[Record]) -> None:
    """Bring the upstream task `2 + place` to an end."""
    decide.start_task(state, place, 1, into)
    if how == "U":
        decide.attempt_failed(state, place, FAILURE, 1, into)
        return
    decide.attempt_succeeded(state, place, b"1", 1, into)
    if how == "-":
        return
    decide.start_task(state, 2 + place, 1, into)
    match how:
        case "S":
            decide.attempt_succeeded(state, 2 + place, b"1", 1, into)
        case "F":
            decide.attempt_failed(state, 2 + place, FAILURE, 1, into)
        case "K":
            decide.attempt_skipped(state, 2 + place, "", 1, into)
