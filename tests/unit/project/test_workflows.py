"""Loading the workflows folder."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tidemill.dag.binding import resolve, resolve_output
from tidemill.dag.definition import Dag, Schedule
from tidemill.dag.schedule import next_tick
from tidemill.errors import DefinitionError, Problem
from tidemill.project.workflows import MAX_FILE_BYTES, load_source, load_workflows

#: The example of the issue, with five tasks beside it.
EXAMPLE = """\
from datetime import datetime

from tidemill import dag, task


@task
async def extract_user_data():
    return [{"user": 1, "name": "Ada"}, {"user": 2, "name": "Grace"}]


@task
def transform_event_data():
    return [{"user": 1, "clicks": 3}, {"user": 2, "clicks": 5}]


@task
def join_user_events(users, events):
    clicks = {event["user"]: event["clicks"] for event in events}
    return [user | {"clicks": clicks[user["user"]]} for user in users]


@task(retries=3)
def load_to_warehouse(rows):
    return len(rows)


@dag(dag_id='user_analytics_pipeline', start_date=datetime(2024, 1, 1), schedule_interval='@daily', catchup=False, max_active_runs=1)
def user_analytics_dag():
    extract_users = extract_user_data()
    transform_events = transform_event_data()
    join_data = join_user_events(extract_users, transform_events)
    load_warehouse = load_to_warehouse(join_data)
    return load_warehouse
"""  # noqa: E501 - verbatim

DAG = """\
from tidemill import dag, task

@task
def work():
    return 1

@dag
def {name}():
    return work()
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty project; whatever it does to the interpreter's modules is undone."""
    modules, path = dict(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name.startswith("tidemill_workflow_"):
            del sys.modules[name]


def write(root: Path, name: str, text: str | bytes) -> None:
    path = root / "workflows" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())


def loaded(root: Path, *, max_tasks: int = 1000) -> dict[str, Dag]:
    dags, problems = load_workflows(root, max_tasks=max_tasks)
    assert problems == []
    return dags


def refused(root: Path) -> list[str]:
    _, problems = load_workflows(root, max_tasks=1000)
    return [str(problem) for problem in problems]


def run(dag: Dag) -> Any:
    """Run a DAG's functions in order, as an engine without faults would."""
    results: list[Any] = []
    for node in dag.tasks:
        args, kwargs = resolve(node, results, {})
        made = node.function(*args, **kwargs)
        results.append(asyncio.run(made) if node.is_coroutine else made)
    return resolve_output(dag, results, {})


def test_the_issues_example_loads_and_runs_as_it_stands(root: Path) -> None:
    write(root, "analytics.py", EXAMPLE)

    dag = loaded(root)["user_analytics_pipeline"]

    assert [node.task_id for node in dag.tasks] == [
        "extract_user_data",
        "transform_event_data",
        "join_user_events",
        "load_to_warehouse",
    ]
    assert dag.schedule == Schedule(
        cron="0 0 * * *",
        interval=None,
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        end_date=None,
        catchup=False,
        timezone="UTC",
    )
    assert next_tick(dag.schedule, datetime(2020, 1, 1, tzinfo=UTC)) == datetime(2024, 1, 2, tzinfo=UTC)
    assert (dag.max_active_runs, dag.file, dag.line, dag.source) == (1, "workflows/analytics.py", 27, EXAMPLE)
    assert run(dag) == 2


def test_every_python_file_is_loaded_but_those_that_begin_with_an_underscore(root: Path) -> None:
    write(root, "b.py", DAG.format(name="b"))
    write(root, "deep/er/c.py", DAG.format(name="c") + "\n" + "@dag\ndef d():\n    work()\n\nd()\n")
    for name in ("_helper.py", "_private/x.py", "deep/_x.py", ".hidden.py", "notes.txt"):
        write(root, name, "raise RuntimeError")

    dags = loaded(root)

    assert {name: dag.file for name, dag in dags.items()} == {
        "b": "workflows/b.py",
        "c": "workflows/deep/er/c.py",
        "d": "workflows/deep/er/c.py",
    }


def test_a_project_without_workflows_has_no_dags(root: Path) -> None:
    assert load_workflows(root, max_tasks=1) == ({}, [])


def test_siblings_are_imported_by_name_and_their_dags_stay_theirs(root: Path) -> None:
    write(root, "shared.py", DAG.format(name="shared") + "\nRATE = 3\n")
    write(root, "_lib/__init__.py", "FACTOR = 2\n")
    write(
        root,
        "uses.py",
        """
        from _lib import FACTOR
        from shared import RATE, work, shared
        from tidemill import dag, task

        @task
        def product():
            return RATE * FACTOR

        @dag
        def uses():
            return [work(), product()]
        """,
    )
    before = list(sys.path)

    dags = loaded(root)

    assert {name: dag.file for name, dag in dags.items()} == {
        "shared": "workflows/shared.py",
        "uses": "workflows/uses.py",
    }
    assert run(dags["uses"]) == [1, 6]
    assert sys.path == before
    assert not {"shared", "_lib", "uses"} & set(sys.modules)
    assert not list(root.rglob("__pycache__"))


def test_a_reload_reads_the_new_text_of_siblings(root: Path) -> None:
    write(root, "_rate.py", "RATE = 1\n")
    write(
        root,
        "uses.py",
        "from _rate import RATE\n" + DAG.format(name="uses").replace("return 1", "return RATE"),
    )
    assert run(loaded(root)["uses"]) == 1

    write(root, "_rate.py", "RATE = 2\n")

    assert run(loaded(root)["uses"]) == 2


def test_factories_declare_dags_of_the_file_that_calls_them(root: Path) -> None:
    write(
        root,
        "_factory.py",
        """
        from tidemill import dag, task

        @task
        def work(name):
            return name

        def make(name):
            @dag(dag_id=name, max_active_runs=0 if name == "bad" else 1)
            def built():
                return work(name)
            return built
        """,
    )
    write(root, "regions.py", "from _factory import make\n\nfor name in ['eu', 'us']:\n    make(name)\n")

    dags = loaded(root)

    assert {name: (dag.file, dag.line) for name, dag in dags.items()} == {
        "eu": ("workflows/regions.py", 4),
        "us": ("workflows/regions.py", 4),
    }
    assert run(dags["us"]) == "us"

    write(root, "regions.py", "from _factory import make\n\nmake('bad')\n")
    assert refused(root) == [
        "workflows/regions.py:3: DAG 'bad': max_active_runs must be a whole number from 1 or None, not 0"
    ]


def test_all_problems_of_all_files_are_reported_with_their_lines(root: Path) -> None:
    write(root, "a_syntax.py", "x = 1\ndef broken(:\n    pass\n")
    write(root, "b_raises.py", "import os\n\n\ndef f():\n    return 1 / 0\n\nf()\n")
    write(root, "c_missing.py", "\nimport no_such_module\n")
    write(root, "d_exits.py", "import sys\nsys.exit('enough')\n")
    write(
        root, "e_build.py", DAG.format(name="e").replace("work()\n", "work(1)\n").replace("def e", "def e_")
    )
    write(root, "f_bytes.py", b"x = '\xff\xfe'\n")
    write(root, "g_null.py", b"x = 1\0\n")
    write(root, "h_coding.py", b"# coding: nothing\n")
    write(root, "i_fine.py", DAG.format(name="fine"))
    write(root, "j_notdag.py", "from tidemill import dag\n\ndag(3)\n")
    write(root, "k_first.py", DAG.format(name="fine"))

    dags, problems = load_workflows(root, max_tasks=1000)

    assert list(dags) == ["fine"]
    found = [str(problem).removeprefix("workflows/") for problem in problems]
    expected = [
        "a_syntax.py:2: syntax error: ",
        "b_raises.py:5: importing the file raised ZeroDivisionError: division by zero",
        "c_missing.py:2: importing the file raised ModuleNotFoundError: No module named 'no_such_module'",
        "d_exits.py:2: importing the file raised SystemExit: enough",
        "e_build.py:9: DAG 'e_': task 'work': function work: too many positional arguments",
        "f_bytes.py: the file is not text in its encoding (UTF-8 unless it says otherwise)",
        "g_null.py",
        "h_coding.py: the file is not text in its encoding (UTF-8 unless it says otherwise)",
        "j_notdag.py:3: importing the file raised TypeError: @dag decorates a function, not int",
        "k_first.py:7: DAG 'fine' is declared twice; the other one is at workflows/i_fine.py:7",
    ]
    assert len(found) == len(expected), found
    for one, wanted in zip(found, expected, strict=True):
        assert one.startswith(wanted)


def test_a_dag_id_that_is_taken_twice_is_told_even_when_one_of_them_is_broken(root: Path) -> None:
    broken = DAG.format(name="same").replace("@dag", "@dag(max_active_runs=0)")
    write(root, "a.py", broken)
    write(root, "b.py", DAG.format(name="same") + "\n@dag(dag_id='same')\ndef again():\n    work()\n")

    assert refused(root) == [
        "workflows/a.py:7: DAG 'same': max_active_runs must be a whole number from 1 or None, not 0",
        "workflows/b.py:7: DAG 'same' is declared twice; the other one is at workflows/a.py:7",
        "workflows/b.py:11: DAG 'same' is declared twice; the other one is at workflows/a.py:7",
    ]


@pytest.mark.parametrize(("excess", "accepted"), [(-1, True), (0, True), (1, False)])
def test_files_are_limited_to_one_mebibyte(root: Path, excess: int, accepted: bool) -> None:
    text = DAG.format(name="large").encode()
    write(root, "large.py", text + b"#" * (MAX_FILE_BYTES + excess - len(text)))

    dags, problems = load_workflows(root, max_tasks=10)

    assert ("large" in dags, problems == []) == (accepted, accepted)
    if problems:
        assert problems == [
            Problem("workflows/large.py", 0, "the file is larger than 1048576 bytes; split it")
        ]


def test_the_limit_of_tasks_reaches_the_dags(root: Path) -> None:
    write(root, "wide.py", DAG.format(name="wide").replace("work()\n", "[work() for _ in range(3)]\n"))

    assert len(loaded(root, max_tasks=3)["wide"].tasks) == 3
    assert [one.line for one in load_workflows(root, max_tasks=2)[1]] == [9]


def test_a_folder_is_found_from_a_relative_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "_lib.py", "")
    write(root, "a.py", "import _lib\n" + DAG.format(name="a"))
    monkeypatch.chdir(root)

    dags, problems = load_workflows(Path(), max_tasks=10)

    assert (problems, dags["a"].file) == ([], "workflows/a.py")
    assert "_lib" not in sys.modules


def test_classes_of_a_workflow_file_can_be_pickled_and_are_parameters(root: Path) -> None:
    write(
        root,
        "orders.py",
        """
        from __future__ import annotations
        from pydantic import BaseModel
        from tidemill import Context, dag, task

        class Order(BaseModel):
            lines: list[Line]

        class Line(BaseModel):
            sku: str

        @task
        def ship(order: Order, context: Context) -> int:
            return len(order.lines)

        @dag
        def orders(order: Order):
            return ship(order)
        """,
    )

    dag = loaded(root)["orders"]
    order = dag.parameters.load(b'{"order": {"lines": [{"sku": "a"}]}}')["order"]

    assert order.lines[0].sku == "a"
    assert pickle.loads(pickle.dumps(order)) == order
    assert dag.tasks[0].context_parameter == "context"


def test_a_kept_version_is_made_again_from_its_text(root: Path) -> None:
    write(root, "analytics.py", EXAMPLE)
    kept = loaded(root)["user_analytics_pipeline"]

    again = load_source(kept.source, kept.file, kept.dag_id)

    assert (again.version, again.file, again.line) == (kept.version, kept.file, kept.line)
    assert run(again) == 2


def test_a_kept_version_finds_its_siblings_in_the_project(root: Path) -> None:
    write(root, "_rate.py", "RATE = 5\n")
    text = "from _rate import RATE\n" + DAG.format(name="uses").replace("return 1", "return RATE")

    assert run(load_source(text, "workflows/uses.py", "uses", root=root)) == 5
    with pytest.raises(DefinitionError, match="No module named '_rate'"):
        load_source(text, "workflows/uses.py", "uses")


def test_a_traceback_of_a_kept_version_shows_the_kept_text() -> None:
    text = DAG.format(name="old").replace("return 1", "return 1 / 0  # as it was")
    dag = load_source(text, "workflows/old.py", "old")

    with pytest.raises(ZeroDivisionError) as caught:
        run(dag)

    assert "as it was" in str(caught.getrepr())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DAG.format(name="other"), "workflows/x.py: this version does not declare DAG 'x'"),
        ("1 +", "workflows/x.py:1: syntax error: invalid syntax"),
        (DAG.format(name="x").replace("@dag", "@dag(max_active_runs=0)"), "max_active_runs must be"),
    ],
)
def test_a_kept_version_that_cannot_be_made_is_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_source(text, "workflows/x.py", "x")

    assert message in str(caught.value)


def test_a_file_that_fails_after_a_reload_leaves_the_running_version_alone(root: Path) -> None:
    write(root, "_rate.py", "RATE = 1\n")
    write(
        root,
        "uses.py",
        "from _rate import RATE\n" + DAG.format(name="uses").replace("return 1", "return RATE"),
    )
    dag = loaded(root)["uses"]

    write(root, "_rate.py", "raise ValueError('not now')\n")

    assert refused(root) == ["workflows/uses.py:1: importing the file raised ValueError: not now"]
    assert run(dag) == 1
    assert dag.tasks[0].function.__module__ in sys.modules
