"""What is probably a mistake is found, with its place, and what is right is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.project.lint import Finding, lint


def found(folder: Any, text: str) -> list[Finding]:
    folder.write("triggers/t.yaml", text)
    return lint(folder.load())


def test_right_project_has_no_findings(folder: Any) -> None:
    assert not found(
        folder,
        """
        sources:
          - {name: in, files: {path: in}}
        triggers:
          - {name: landed, dag: archive, filters: [{exact: {type: dev.tidemill.file.landed.v1}}]}
          - {name: after, dag: report, filters: [{exact: {source: /tidemill/dags/archive}}]}
          - {name: orders, dag: process_order, filters: [{exact: {type: order}}], parameters: {order: $.data}}
          - {name: other, dag: archive, filters: [{exact: {type: order}}]}
        """,
    )


def test_rule_that_never_holds_is_found_with_its_place(folder: Any) -> None:
    (one,) = found(
        folder,
        """
        triggers:
          - name: never
            dag: archive
            pattern: {detail-type: [order]}
        """,
    )

    assert (one.finding, one.name, one.file, one.line) == ("never_true", "never", "triggers/t.yaml", 3)
    assert '"detail-type"' in one.message


def test_part_of_a_join_that_never_holds_is_found(folder: Any) -> None:
    (one,) = found(
        folder,
        """
        triggers:
          - name: both
            dag: archive
            filters: [{prefix: {type: order.}}]
            admission:
              join:
                window: 1h
                of:
                  - {name: paid, filters: [{exact: {type: order.paid}}]}
                  - {name: sent, filters: [{exact: {type: order.sent}}, {exact: {type: order.packed}}]}
        """,
    )

    assert (one.finding, one.name) == ("never_true", "both")
    assert "'sent'" in one.message


@pytest.mark.parametrize(
    ("second", "finding"),
    [
        ("{name: b, dag: archive, filters: [{exact: {type: order.paid}}]}", "identical"),
        ("{name: b, dag: archive, pattern: {type: [order.paid]}}", "identical"),
        ("{name: b, dag: archive, filters: [{exact: {type: order.paid, source: /s}}]}", "shadowed"),
        ("{name: b, dag: archive, filters: [{prefix: {type: order.}}]}", "shadowed"),
        ("{name: b, dag: report, filters: [{exact: {type: order.paid}}]}", None),
        ("{name: b, dag: archive, filters: [{exact: {type: order.sent}}]}", None),
        ("{name: b, dag: archive, paused: true, filters: [{exact: {type: order.paid}}]}", None),
        (
            "{name: b, dag: archive, filters: [{exact: {type: order.paid}}], admission: {batch: {period: 1s}}}",
            None,
        ),
    ],
)
def test_triggers_that_start_the_same_twice_are_found(folder: Any, second: str, finding: str | None) -> None:
    first = "{name: a, dag: archive, filters: [{exact: {type: order.paid}}]}"

    findings = found(folder, f"triggers:\n  - {first}\n  - {second}\n")

    assert [one.finding for one in findings] == ([] if finding is None else [finding])
    if finding is not None:
        assert {findings[0].name, *findings[0].others} == {"a", "b"}


@pytest.mark.parametrize(
    ("rule", "is_fed"),
    [
        ("filters: [{exact: {type: dev.tidemill.file.landed.v1}}]", False),
        ("filters: [{exact: {type: dev.tidemill.run.started.v1}}]", False),
        ("filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: /tidemill/dags/nobody}}]", False),
        ("pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [nobody]}}", False),
        ("pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [report]}}", True),
        ("filters: [{exact: {type: dev.tidemill.source.tick.v1}}]", True),
        ("filters: [{exact: {type: dev.tidemill.source.gap.v1}}]", True),
        ("filters: [{exact: {type: whatever}}]", True),
        ("filters: [{exact: {type: made}}]", True),
        ("pattern: {data: {n: [1]}}", True),
    ],
)
def test_triggers_that_nothing_feeds_are_found(folder: Any, rule: str, *, is_fed: bool) -> None:
    findings = found(
        folder,
        f"""
        sources:
          - {{name: clock, schedule: {{every: 1h}}}}
        subscriptions:
          - {{name: all, filters: [], webhook: {{url: "https://example.com"}}}}
        triggers:
          - {{name: t, dag: archive, {rule}}}
        """,
    )

    assert [one.finding for one in findings] == ([] if is_fed else ["unfed"])


def test_events_that_nobody_takes_are_found(folder: Any) -> None:
    findings = found(
        folder,
        """
        sources:
          - {name: drop, files: {path: in}}
          - {name: hook, webhook: {event: {type: came}}}
          - {name: any, webhook: {event: {type: $.body.type}}}
          - {name: clock, schedule: {every: 1h, type: tick}}
        derive:
          - {name: make, filters: [{exact: {type: came}}], event: {type: made}}
        triggers:
          - name: t
            dag: archive
            filters: [{exact: {type: x}}]
            admission: {cancel_on: {filters: [{exact: {type: tick}}]}}
        """,
    )

    assert {(one.finding, one.name) for one in findings} == {("untaken", "drop"), ("untaken", "make")}
    assert "dev.tidemill.file.landed.v1" in next(one.message for one in findings if one.name == "drop")


LOOP = "{name: again, dag: archive, filters: [{exact: {type: dev.tidemill.run.succeeded.v1, source: %s}}]%s}"


@pytest.mark.parametrize(
    ("more", "count"), [("", 1), (", loops: avoid", 0), (", loops: 3", 0), (", paused: true", 0)]
)
def test_loop_of_a_dag_is_proven_and_ended_by_its_policy(folder: Any, more: str, count: int) -> None:
    findings = found(folder, f"triggers:\n  - {LOOP % ('/tidemill/dags/archive', more)}\n")

    assert [one.finding for one in findings] == ["loop"] * count
    if count:
        assert "always" in findings[0].message
        assert findings[0].name == "again"


def test_loop_that_data_may_end_is_called_possible(folder: Any) -> None:
    (one,) = found(
        folder,
        """
        triggers:
          - name: again
            dag: archive
            pattern: {type: [dev.tidemill.run.succeeded.v1], data: {dag: [archive], result: {more: [true]}}}
        """,
    )

    assert one.finding == "loop"
    assert "possibly" in one.message


DERIVED = """
derive:
  - {{name: done, filters: [{{exact: {{source: /tidemill/dags/archive}}}}], event: {{type: archive.done}}}}
  - {{name: more, filters: [{{exact: {{type: archive.done}}}}], event: {{type: archive.more}}}}
triggers:
  - {{name: again, dag: archive, filters: [{{exact: {{type: {type}}}}}]{more}}}
"""


@pytest.mark.parametrize(
    ("type", "more", "names"),
    [
        ("archive.done", "", {"again", "done"}),
        # the chain is followed through one derivation, and not through two in a row
        ("archive.done", ", loops: avoid", None),
        ("archive.more", "", {"again", "done", "more"}),
        ("archive.more", ", loops: avoid", {"again", "done", "more"}),
    ],
)
def test_loop_through_derivations_is_found_where_no_policy_ends_it(
    folder: Any,
    type: str,  # noqa: A002
    more: str,
    names: set[str] | None,
) -> None:
    findings = [one for one in found(folder, DERIVED.format(type=type, more=more)) if one.finding == "loop"]

    assert [{one.name, *one.others} for one in findings] == ([] if names is None else [names])


def test_validate_does_not_warn_of_a_circle_that_a_policy_ends(folder: Any) -> None:
    folder.write("triggers/t.yaml", f"triggers:\n  - {LOOP % ('/tidemill/dags/archive', ', loops: avoid')}\n")

    assert folder.load().warnings == ()
