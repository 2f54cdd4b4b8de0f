"""The verdict on a whole project: each rule, its place, and what is not to be told."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tidemill.engine.demands import check_demands
from tidemill.project.remarks import RULES, Remark, Severity
from tidemill.project.validation import judge

HEAD = """
from __future__ import annotations
from typing import Any, Literal, TypedDict
from tidemill import branch, dag, failure_of, task

class Row(TypedDict):
    id: int
    name: str

@task
def row() -> Row:
    return {"id": 1, "name": "a"}

@task
def number() -> int:
    return 1

@task
def text() -> str:
    return ""

@task
def nothing() -> None:
    pass

@task
def take_number(n: int) -> int:
    return n

@task
def take_numbers(ns: list[int], rows: list[Row] | None = None) -> int:
    return 1

@task
def take_row(row: Row) -> int:
    return 1

@task
def take_any(value, other: Any = None) -> int:
    return 1

@task
def take_many(*values: int, **named: str) -> int:
    return 1

@task
def take_maybe(n: int = None) -> int:
    return 1
"""


def remarks(root: Path, **files: str) -> list[Remark]:
    (root / "workflows").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "workflows" / f"{name}.py").write_text(dedent(text), "utf-8")
    return list(judge(root, check_demands).remarks)


def of_body(root: Path, body: str, *, parameters: str = "", head: str = "") -> list[tuple[str, int, str]]:
    """Rule, line within the body (from 1) and message of the remarks of a DAG with this body."""
    text = f"{HEAD}{dedent(head)}\n@dag\ndef flow({parameters}):\n"
    begin = text.count("\n")
    body = "\n".join("    " + line for line in dedent(body).strip().splitlines())
    found = remarks(root, flow=text + body + "\n")
    assert {one.file for one in found} <= {"workflows/flow.py"}
    return [(one.rule, one.line - begin, one.message.removeprefix("DAG 'flow': ")) for one in found]


@pytest.mark.parametrize(
    ("body", "rule", "message"),
    [
        (
            "take_number(text())",
            "type-mismatch",
            "task 'take_number' takes 'n' from task 'text': it is str, not int",
        ),
        (
            "take_number(n=row())",
            "type-mismatch",
            "task 'take_number' takes 'n' from task 'row': it is Row, not int",
        ),
        (
            "take_number(row()['name'])",
            "type-mismatch",
            "task 'take_number' takes 'n' from task 'row'['name']: it is str, not int",
        ),
        (
            "take_numbers([number(), text()])",
            "type-mismatch",
            "task 'take_numbers' takes 'ns'[1] from task 'text': it is str, not int",
        ),
        (
            "take_number('5')",
            "type-mismatch",
            "task 'take_number' takes 'n' from the constant '5': it is str, not int",
        ),
        (
            "take_many(1, text())",
            "type-mismatch",
            "task 'take_many' takes 'values' from task 'text': it is str, not int",
        ),
        (
            "take_number.expand(n=text())",
            "type-mismatch",
            "task 'take_number' takes each 'n' from task 'text': it is str, not list[Any] | dict[str, Any]",
        ),
        (
            "take_number.expand(n=['a'])",
            "type-mismatch",
            "task 'take_number' takes each 'n' from the constant 'a': it is str, not int",
        ),
        (
            "take_row(take_number.expand(n=[1]))",
            "type-mismatch",
            "task 'take_row' takes 'row' from task 'take_number': it is list[int], not Row",
        ),
        (
            "take_number(nothing())",
            "none-passed",
            "task 'take_number' takes 'n' from task 'nothing', which returns nothing (None)",
        ),
        (
            "take_any(nothing())",
            "none-passed",
            "task 'take_any' takes 'value' from task 'nothing', which returns nothing (None)",
        ),
        (
            "take_any(row()['nam'])",
            "unknown-path",
            "task 'take_any' refers to the result of task 'row'['nam']: Row has no 'nam' (it has 'id', 'name')",
        ),
        (
            "take_any([{'a': number()['x']}])",
            "unknown-path",
            "task 'take_any' refers to the result of task 'number'['x']: int has no parts",
        ),
    ],
)
def test_what_a_task_certainly_cannot_take_is_told(
    tmp_path: Path, body: str, rule: str, message: str
) -> None:
    assert of_body(tmp_path, body) == [(rule, 1, message)]


@pytest.mark.parametrize(
    "body",
    [
        "take_number(number())",
        "take_number(row()['id'])",
        "take_row(row())",
        "take_numbers([number(), 2], [row()])",
        "take_numbers(take_number.expand(n=[1, 2]))",
        "take_numbers([nothing_typed()])",
        "take_any(text(), nothing_typed())",
        "take_any(1, nothing())",
        "take_maybe(None)",
        "take_many(1, number(), a=text())",
        "take_number.expand(n=nothing_typed())",
        "take_number.expand(n=numbers())",
        "take_any.expand(value={'a': 1})",
        "take_number(deep()['a']['b'][0]['c'])",
    ],
)
def test_what_may_fit_is_not_told(tmp_path: Path, body: str) -> None:
    head = """
    @task
    def nothing_typed():
        return 1

    @task
    def numbers() -> list[int]:
        return []

    @task
    def deep() -> dict:
        return {}
    """

    assert of_body(tmp_path, body, head=head) == []


def test_parameters_are_held_against_what_takes_them(tmp_path: Path) -> None:
    body = """
    take_number(n)
    take_number(label)
    take_number(order.id)
    take_number(order.name)
    take_any(order.nam)
    """

    found = of_body(tmp_path, body, parameters="n: int, label: str, order: Order", head=MODEL)

    assert found == [
        ("type-mismatch", 2, "task 'take_number__2' takes 'n' from parameter 'label': it is str, not int"),
        (
            "type-mismatch",
            4,
            "task 'take_number__4' takes 'n' from parameter 'order'['name']: it is str, not int",
        ),
        (
            "unknown-path",
            5,
            "task 'take_any' refers to parameter 'order'['nam']: Order has no 'nam' (it has 'id', 'name')",
        ),
    ]


MODEL = """
from pydantic import BaseModel

class Order(BaseModel):
    id: int
    name: str
"""


def test_output_of_the_dag_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    ((rule, _, message),) = of_body(tmp_path, "return {'made': row()['x']}")

    assert (rule, "the DAG's output refers to" in message) == ("unknown-path", True)


def test_defaults_results_and_constants_that_are_no_json_are_told(tmp_path: Path) -> None:
    head = """
    class Thing:
        pass

    THING = Thing()

    @task
    def raw() -> bytes:
        return b""
    """

    found = of_body(
        tmp_path, "raw()\ntake_any([THING])\ntake_any(str)", parameters="a: Any = THING", head=head
    )

    assert [(rule, line) for rule, line, _ in found] == [
        ("unserialisable-default", -1),
        ("unserialisable-result", 1),
        ("unserialisable-constant", 2),
    ]


def test_tasks_that_can_never_start_are_told(tmp_path: Path) -> None:
    head = """
    @branch
    def decide() -> str:
        return "number" if 1 else "nobody"
    """
    body = """
    first = number()
    last = text()
    failure_of(first) >> last
    first >> nothing() >> last
    decide() >> [first, row()]
    """

    found = of_body(tmp_path, body, head=head)

    assert [(rule, line) for rule, line, _ in found] == [
        ("unreachable-task", 2),
        ("unknown-branch", 5),
        ("unreachable-task", 5),
    ]


def test_branch_that_names_by_annotation_or_by_what_is_computed_is_understood_or_left_alone(
    tmp_path: Path,
) -> None:
    head = """
    @branch
    def by_type(n: int) -> Literal["number"] | None:
        return pick(n)

    @branch
    def computed(n: int) -> str:
        return ["number", "text"][n]
    """

    assert [rule for rule, *_ in of_body(tmp_path, "by_type(1) >> [number(), text()]", head=head)] == [
        "unreachable-task"
    ]
    assert of_body(tmp_path, "computed(1) >> [number(), text()]", head=head) == []


def test_missing_modules_are_told_with_their_name_and_line(tmp_path: Path) -> None:
    found = remarks(
        tmp_path,
        top="from tidemill import dag\n\nimport nowhere_to_be_found.sub\n",
    )

    ((rule, file, line, message),) = [(one.rule, one.file, one.line, one.message) for one in found]
    assert (rule, file, line) == ("missing-dependency", "workflows/top.py", 3)
    assert "'nowhere_to_be_found'" in message


def test_missing_names_of_modules_beside_a_file_are_told_at_their_line(tmp_path: Path) -> None:
    (one,) = remarks(tmp_path, _lib="import nowhere_at_all\n", top="from tidemill import dag\nimport _lib\n")

    assert (one.rule, one.line) == ("missing-dependency", 2)
    assert "nowhere_at_all" in one.message


def test_imports_inside_functions_are_looked_at(tmp_path: Path) -> None:
    found = remarks(
        tmp_path,
        _lib="A = 1\n\ndef f():\n    import missing_one\n",
        flow="""
        from tidemill import dag, task
        from _lib import A

        @task
        def one() -> int:
            import json
            import _lib
            import missing_two.sub
            try:
                import missing_three
            except ImportError:
                missing_three = None
            return 1

        def called_at_load():
            import _lib
            return _lib.A

        called_at_load()

        @dag
        def flow():
            one()
        """,
    )

    assert [(one.rule, one.file, one.line, one.column) for one in found] == [
        ("late-dependency", "workflows/_lib.py", 4, 5),
        ("late-import", "workflows/flow.py", 8, 5),
        ("late-dependency", "workflows/flow.py", 9, 5),
    ]


def test_cycles_are_told_with_their_path(tmp_path: Path) -> None:
    ((rule, _, message),) = of_body(tmp_path, "a = number()\nb = text()\na >> b >> a")

    assert (rule, message) == ("cycle", "the tasks wait for each other: number → text → number")


def test_pools_and_resources_that_there_never_are_are_told_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "tidemill.toml").write_text("[pools]\nfew = 2\npaused = 0\n[resources]\ncpu = 2\n", "utf-8")
    body = """
    number.override(pool="nowhere")()
    number.override(pool="few", pool_slots=3)()
    number.override(pool="few", pool_slots=2)()
    number.override(pool="paused")()
    number.override(cpu=3)()
    """

    found = of_body(tmp_path, body)

    assert [(rule, line) for rule, line, _ in found] == [
        ("unknown-pool", 1),
        ("impossible-resources", 2),
        ("impossible-resources", 5),
    ]
    assert "takes 3 slots of pool 'few', which has 2" in found[1][2]
    assert "asks for 3 of 'cpu', and this machine has 2" in found[2][2]


def test_syntax_error_has_line_and_column(tmp_path: Path) -> None:
    (one,) = remarks(tmp_path, flow="x = (\n1 +\n")

    assert (one.rule, one.line, one.column) == ("syntax", 1, 5)


def test_lint_of_triggers_is_part_of_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "t.yaml").write_text(
        "triggers:\n  - {name: t, dag: flow, pattern: {detail-type: [a]}}\n", "utf-8"
    )

    (one,) = remarks(tmp_path, flow=f"{HEAD}\n@dag\ndef flow():\n    number()\n")

    assert (one.rule, one.severity, one.file, one.line) == (
        "never-true",
        Severity.WARNING,
        "triggers/t.yaml",
        2,
    )


def test_only_errors_make_a_project_invalid_unless_it_is_strict(tmp_path: Path) -> None:
    remarks(tmp_path, flow=f"{HEAD}\n@dag\ndef flow():\n    take_any(nothing())\n")

    verdict = judge(tmp_path)

    assert [one.severity for one in verdict.remarks] == [Severity.WARNING]
    assert (verdict.is_valid(), verdict.is_valid(strict=True)) == (True, False)


def test_every_rule_has_a_summary_in_one_clause() -> None:
    for rule, text in RULES.items():
        assert rule == rule.lower().replace("_", "-")
        assert text.summary[0].islower() or text.summary.startswith("DAG"), rule
        assert not text.summary.endswith("."), rule


def test_branch_inside_a_group_names_the_tasks_of_its_group(tmp_path: Path) -> None:
    head = """
    @branch
    def decide() -> Literal["left"]:
        return "left"

    @dag
    def inner():
        left, right = number.override(task_id="left")(), text.override(task_id="right")()
        decide() >> [left, right]
    """

    found = of_body(tmp_path, "inner()", head=head)

    told = [message.partition(":")[0] for _, _, message in found]
    assert told == ["task 'inner.right' can never start", "DAG 'inner'"]
    assert {rule for rule, *_ in found} == {"unreachable-task"}


def test_results_with_a_serializer_may_be_anything_that_it_knows(tmp_path: Path) -> None:
    head = """
    @task(result="tagged")
    def raw() -> bytes:
        return b""
    """

    assert of_body(tmp_path, "raw()", head=head) == []
