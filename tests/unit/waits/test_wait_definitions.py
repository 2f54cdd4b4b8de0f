"""How waits are written, and what is refused at load."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill import approval, dag, sleep, task, wait_for_event, wait_until
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.dag.wait_spec import WaitKind
from tidemill.errors import TaskFailed
from tidemill.events.event import Event
from tidemill.project.workflows import load_workflows
from tidemill.runs import waits
from tidemill.runs.records import Failure


@task
def first() -> dict[str, Any]:
    return {}


def built(function: Callable[[], Any]) -> Dag:
    made = build(dag(dag_id="d")(function))
    assert isinstance(made, Dag), made
    return made


def problems(function: Callable[[], Any]) -> list[str]:
    made = build(dag(dag_id="d")(function))
    assert not isinstance(made, Dag)
    return [problem.message for problem in made]


def test_a_wait_is_a_node_with_its_dependencies() -> None:
    def waits_() -> None:
        made = first()
        made >> sleep(5) >> wait_until(datetime(2030, 1, 1, tzinfo=UTC), task_id="later")
        wait_for_event({"type": ["t"]}, match={"subject": made["id"]})

    found = built(waits_)

    assert {node.task_id: node.wait.kind for node in found.tasks if node.wait} == {
        "sleep": WaitKind.SLEEP,
        "later": WaitKind.UNTIL,
        "wait_for_event": WaitKind.EVENT,
    }
    assert [found.tasks[above].task_id for above in found.tasks[found.index["wait_for_event"]].upstream] == [
        "first"
    ]
    assert len(found.waits) == 3


def test_what_is_waited_for_is_part_of_the_version() -> None:
    def one() -> None:
        sleep(5)
        wait_for_event({"type": ["a"]})

    def other() -> None:
        sleep(5)
        wait_for_event({"type": ["b"]})

    assert built(one).version != built(other).version


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sleep(-1), "duration must be not negative"),
        (lambda: sleep("soon"), "duration must be a timedelta or seconds"),
        (lambda: sleep(float("nan")), "at most a century"),
        (lambda: wait_until("soon"), "is no time"),
        (lambda: wait_until("2030-01-01T00:00:00"), "in which zone"),
        (lambda: wait_for_event(), "say which events"),
        (lambda: wait_for_event({"type": first()}), "plain data"),
        (lambda: wait_for_event({"type": ["a"]}, match={"data..x": 1}), "is no path"),
        (lambda: wait_for_event({"type": ["a"]}, match={"subject.x": 1}), "nothing lies below"),
        (lambda: wait_for_event({"type": ["a"]}, match={"data.x": None}), "must be a text"),
        (lambda: wait_for_event({"type": ["a"]}, timeout=0), "timeout must be above 0"),
        (lambda: wait_for_event({"type": ["a"]}, lookback=first()), "lookback cannot be an output"),
        (lambda: approval("x", quorum=0), "quorum must be a whole number from 1"),
        (lambda: approval("x", assignees=["a"], quorum=2), "quorum is 2 and there are 1"),
        (lambda: approval("x", on_reject="shrug"), "on_reject must be"),
        (lambda: approval(7), "title must be a text"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_when_the_dag_is_built(
    wrong: Callable[[], Any], message: str
) -> None:
    def waits_() -> None:
        first()
        wrong()

    assert any(message in found for found in problems(waits_))


def test_waits_are_made_in_a_dag_only() -> None:
    with pytest.raises(TypeError, match="inside a DAG"):
        sleep(1)


def test_patterns_and_forms_are_refused_at_load_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "w.py").write_text(
        "from tidemill import dag, wait_for_event, approval\n"
        "\n"
        "@dag\n"
        "def d():\n"
        "    wait_for_event({'type': [{'nonsense': 1}]})\n"
        "    wait_for_event(cel='event.type ==')\n"
        "    approval('x', form={'type': 'nothing'})\n"
    )

    _, found = load_workflows(tmp_path, max_tasks=100)

    assert [(problem.file, problem.line) for problem in found] == [("workflows/w.py", n) for n in (5, 6, 7)]
    assert "pattern" in found[0].message
    assert "form is no JSON Schema" in found[2].message


# ── what follows from them ──


def spec_of(function: Callable[[], Any]) -> Any:
    found = built(function)
    return next(node.wait for node in found.tasks if node.wait)


def event(**members: Any) -> Event:
    return Event(**{"id": "1", "source": "/s", "type": "t", **members})


@pytest.mark.parametrize(
    ("value", "data", "is_same"),
    [
        (7, 7, True),
        (7, 7.0, True),
        (7, "7", False),
        (1, True, False),
        ("a", "a", True),
        (True, True, True),
        (7, None, False),
        (7, [7], False),
        (7, 2**70, False),
    ],
)
def test_values_are_the_same_or_not(value: Any, data: Any, is_same: bool) -> None:
    spec = spec_of(lambda: wait_for_event({"type": ["t"]}, match={"data.a.b": value}))
    begun = waits.begin(spec, {"match": {"data.a.b": value}}, at=0, since=0)

    found = waits.event_key(spec.pattern, spec.paths, event(data={"a": {"b": data}}))

    assert (found == begun.detail["key"]) is is_same


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, float("inf"), "x" * 10_000])
def test_what_cannot_be_compared_fails_the_wait(value: Any) -> None:
    spec = spec_of(lambda: wait_for_event({"type": ["t"]}, match={"subject": "x"}))

    with pytest.raises(TaskFailed, match="match: the value of subject"):
        waits.begin(spec, {"match": {"subject": value}}, at=0, since=0)


def test_attributes_and_extensions_are_compared_too() -> None:
    spec = spec_of(lambda: wait_for_event({"type": ["t"]}, match={"subject": "s", "tenant": "x"}))
    begun = waits.begin(spec, {"match": {"subject": "s", "tenant": "x"}}, at=0, since=0)

    same = waits.event_key(spec.pattern, spec.paths, event(subject="s", extensions={"tenant": "x"}))
    lacking = waits.event_key(spec.pattern, spec.paths, event(subject="s"))

    assert same == begun.detail["key"]
    assert lacking is None


def test_times_are_exact_and_in_bounds() -> None:
    nap = spec_of(lambda: sleep(1))
    until = spec_of(lambda: wait_until(datetime(2030, 1, 1, tzinfo=UTC)))

    assert waits.begin(nap, {"duration": timedelta(milliseconds=1)}, at=5, since=0).due_at == 1005
    assert waits.begin(until, {"moment": "1970-01-01T01:00:00+01:00"}, at=5, since=0).due_at == 0
    for wrong in (-1, timedelta(days=100_000), "x", None, True):
        with pytest.raises(TaskFailed, match="duration must be"):
            waits.begin(nap, {"duration": wrong}, at=0, since=0)


def test_a_rejection_says_who_and_why() -> None:
    said = [waits.Decision(by="ann", at=1, is_approval=True)]
    said.append(waits.Decision(by="bob", at=2, is_approval=False, data=b'{"reason":"no"}'))

    assert waits.rejected({"on_reject": "fail"}, said) == Failure("Rejected", "rejected by bob: no")
    assert waits.rejected({"on_reject": "skip"}, said) == waits.Skipped("rejected by bob: no")
