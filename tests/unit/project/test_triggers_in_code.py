"""Triggers that stand beside their DAG are those of definition files: the same object, the same checks."""

from __future__ import annotations

from typing import Any

import pytest

IN_CODE = """
from datetime import timedelta
from tidemill import dag, task, trigger

@task
def work(value):
    return value

@dag(
    on=[
        trigger(
            pattern={"type": ["com.example.order"]},
            parameters={"order": "$.data.id"},
            admission={"key": "$.data.id", "debounce": {"period": timedelta(seconds=2)}},
            loops="avoid",
        ),
        trigger("by-hand", filters=[{"exact": {"type": "x"}}], parameters={"order": 1}, paused=True),
        trigger(filters=[]),
    ]
)
def beside(order: int = 0):
    return work(order)
"""
ALONE = """from tidemill import dag, task, trigger
work = task(task_id="work")(lambda: 1)
@dag(on={on})
def alone():
    return work()
"""
IN_FILE = """
triggers:
  - name: beside
    dag: beside
    pattern: {type: [com.example.order]}
    parameters: {order: $.data.id}
    admission: {key: $.data.id, debounce: {period: 2s}}
    loops: avoid
"""


def test_triggers_in_code_are_those_of_a_file(folder: Any) -> None:
    folder.write("workflows/beside.py", IN_CODE)
    in_code = {one.name: one for one in folder.load().triggers}
    folder.write("workflows/beside.py", IN_CODE.replace("on=[", "on=[][:0] and ["))
    folder.write("triggers/t.yaml", IN_FILE)

    (in_file,) = folder.load().triggers

    assert list(in_code) == ["beside", "by-hand", "beside-3"]
    ours = in_code["beside"]
    assert (ours.rule, ours.dag, ours.loops) == (in_file.rule, in_file.dag, in_file.loops)
    assert ours.parameters.written == in_file.parameters.written
    assert ours.admission.debounce == in_file.admission.debounce
    assert (ours.file, ours.line) == ("workflows/beside.py", 11)
    assert in_code["by-hand"].paused is True


def test_one_trigger_needs_no_list(folder: Any) -> None:
    folder.write("workflows/alone.py", ALONE.format(on="trigger(filters=[])"))

    assert [one.name for one in folder.load().triggers] == ["alone"]


@pytest.mark.parametrize(
    ("on", "problem"),
    [
        ("trigger(filters=[{'near': {}}])", "workflows/alone.py:3: "),
        (
            "trigger(filters=[], parameters={'x': 1})",
            "workflows/alone.py:3: DAG 'alone' has no parameter 'x'",
        ),
        ("trigger()", "workflows/alone.py:3: filters, pattern"),
        ("trigger('manual', filters=[])", "workflows/alone.py:3: 'manual' is what runs asked for by hand"),
        ("'x'", "workflows/alone.py:3: DAG 'alone': on must be trigger(...), or a list of them"),
        (
            "trigger(filters=[object()])",
            "workflows/alone.py:3: importing the file raised TypeError: trigger: object",
        ),
        (
            "[trigger('a', filters=[]), trigger('a', filters=[])]",
            "workflows/alone.py:3: trigger 'a' is defined twice",
        ),
    ],
)
def test_problem_is_told_at_the_line_of_the_trigger(folder: Any, on: str, problem: str) -> None:
    folder.write("workflows/alone.py", ALONE.format(on=on))

    (found,) = folder.problems()

    assert found.startswith(problem)
