"""What counts as the code of a task, and what does not."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from tidemill.engine.code_digest import code_digest
from tidemill.project.workflows import load_source

SOURCE = """
from dataclasses import dataclass
from tidemill import dag, task

FACTOR = 3
TABLE = {"a": [1, 2], "b": {4, 5}}

@dataclass
class Shape:
    side: int
    def area(self): return self.side * FACTOR

def deep(n): return n + 1

def helper(n):
    return deep(n) * FACTOR

def unused(n): return n

@task
def other(n): return n

@task
def work(n, more=2):
    'Work.'
    try:
        return [helper(n), Shape(n).area(), TABLE, other(n), (lambda x: x + 1)(more)]
    except ValueError:
        return None

@dag
def flow(): work(1)
"""


def digest(source: str) -> str:
    dag = load_source(textwrap.dedent(source), "workflows/flow.py", "flow")
    return code_digest(dag.tasks[0].function)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    'Work.'\n", "    # a comment\n\n    'Work.'\n"),
        ("def unused(n): return n", "def unused(n): return n + 1"),
        ("return deep(n) * FACTOR", "return deep( n )*FACTOR  # the same"),
        ("FACTOR = 3", "\n\n\nFACTOR = 1 + 2"),
        ("def flow(): work(1)", "def flow(): work(1); work.override(task_id='x')(2)"),
    ],
)
def test_what_does_not_count_changes_nothing(before: str, after: str) -> None:
    assert before in SOURCE

    assert digest(SOURCE.replace(before, after)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("helper(n), Shape", "helper(n + 1), Shape"),
        ("return n + 1", "return n + 2"),
        ("FACTOR = 3", "FACTOR = 4"),
        ('"b": {4, 5}', '"b": {4, 6}'),
        ("self.side * FACTOR", "self.side ** FACTOR"),
        ("side: int", "side: float"),
        ("def other(n): return n", "def other(n): return -n"),
        ("more=2", "more=3"),
        ("x + 1", "x + 5"),
        ("except ValueError", "except TypeError"),
        ("return [helper", "return (helper"),
    ],
)
def test_whatever_the_task_may_come_to_in_its_file_counts(before: str, after: str) -> None:
    assert before in SOURCE
    changed = SOURCE.replace(before, after)
    if after.startswith("return ("):
        changed = changed.replace("(more)]", "(more))")

    assert digest(changed) != digest(SOURCE)


def test_functions_that_call_each_other_have_an_end() -> None:
    source = """
    from tidemill import dag, task
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1)
    @task
    def work(n): return even(n)
    @dag
    def flow(): work(1)
    """

    assert digest(source) == digest(source)
    assert digest(source.replace("n != 0", "n > 0")) != digest(source)


def test_closure_counts_with_what_it_holds() -> None:
    def make(factor: int) -> Any:
        def work(n: int) -> int:
            return n * factor

        return work

    assert code_digest(make(2)) == code_digest(make(2)) != code_digest(make(3))
