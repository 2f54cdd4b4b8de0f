"""DAGs that start each other in a circle are warned of by name, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

PREFIX = "DAGs start each other in a circle, which ends only at the hop limit: "


def triggers(*lines: str) -> str:
    """A definition file with one trigger for each `dag: rule`."""
    entries = []
    for number, line in enumerate(lines):
        dag, _, rule = line.partition(" <- ")
        entries.append(f"  - {{name: t{number}, dag: {dag}, {rule}}}\n")
    return "triggers:\n" + "".join(entries)


def completed(dag: str) -> str:
    return f"pattern: {{type: [dev.tidemill.run.succeeded.v1], source: [/tidemill/dags/{dag}]}}"


def test_cycle_of_two_dags_is_named_with_its_triggers(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml", triggers(f"report <- {completed('archive')}", f"archive <- {completed('report')}")
    )

    assert folder.load().warnings == (
        f"{PREFIX}archive starts report (trigger t0), report starts archive (trigger t1)",
    )


@pytest.mark.parametrize(
    "rule",
    [
        completed("report"),
        "filters: [{exact: {type: dev.tidemill.run.failed.v1, source: /tidemill/dags/report}}]",
        "filters: [{exact: {source: /tidemill/dags/report, subject: x}}]",
        "filters: [{prefix: {type: dev.tidemill.run.}}]",
        "filters: [{any: [{suffix: {source: /report}}, {exact: {type: x}}]}]",
        "filters: [{all: [{exact: {type: dev.tidemill.run.failed.v1}}, {not: {exact: {source: /x}}}]}]",
        "filters: []",
        "pattern: {type: [{prefix: dev.tidemill.run.}], data: {dag: [report], result: {n: [1]}}}",
        "pattern: {data: {dag: [report]}}",
        "cesql: type LIKE 'dev.tidemill.run.%' AND source LIKE '%report'",
        "filters: [{any: [{sql: \"type = 'x'\"}, {sql: \"source LIKE '%/report'\"}]}]",
        "filters: [{exact: {type: dev.tidemill.run.succeeded.v1}}], pattern: {data: {dag: [report]}}",
    ],
)
def test_cycle_of_one_dag_is_found_however_it_is_written(folder: Any, rule: str) -> None:
    folder.write("triggers/t.yaml", triggers(f"report <- {rule}"))

    assert folder.load().warnings == (f"{PREFIX}report starts report (trigger t0)",)


@pytest.mark.parametrize(
    "rule",
    [
        completed("archive"),
        "filters: [{exact: {type: com.example.x}}]",
        "filters: [{prefix: {type: dev.tidemill.run.}}, {not: {exact: {source: /tidemill/dags/report}}}]",
        "pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [{anything-but: [report]}]}}",
        "filters: [{exact: {type: dev.tidemill.run.failed.v1}}], pattern: {source: [/tidemill/dags/archive]}",
        "pattern: {data: {amount: [{numeric: ['>', 0]}]}}",
        "pattern: {subject: [x]}",
        "cesql: type LIKE 'com.example.%'",
        "cesql: subject = 'x'",
        "cel: data.dag == 'archive'",
        "filters: [{exact: {subject: x}}]",
    ],
)
def test_chain_that_does_not_come_back_is_not_warned_of(folder: Any, rule: str) -> None:
    folder.write("triggers/t.yaml", triggers(f"report <- {rule}"))

    assert folder.load().warnings == ()


def test_cycle_is_warned_of_once_by_a_shortest_circle(folder: Any) -> None:
    folder.write(
        "triggers/t.yaml",
        triggers(
            f"report <- {completed('archive')}",
            f"process_order <- {completed('report')}, parameters: {{order: $.data}}",
            f"archive <- {completed('process_order')}",
            f"archive <- {completed('report')}",
        ),
    )

    assert folder.load().warnings == (
        f"{PREFIX}archive starts report (trigger t0), report starts archive (trigger t3)",
    )


def test_cycle_is_a_warning_only_and_not_looked_for_where_there_are_problems(folder: Any) -> None:
    folder.write("triggers/t.yaml", triggers(f"report <- {completed('report')}", "nope <- filters: []"))

    assert folder.problems() == ["triggers/t.yaml:3: there is no DAG 'nope'"]
