"""A version is a file with what it imports from beside it, and is loaded again with those texts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError
from tidemill.project.workflows import load_source, load_version, load_workflows

WORKFLOW = """
from tidemill import dag, task
{imports}

@task
def rate() -> int:
    return {value}

@dag(dag_id="uses")
def uses():
    return rate()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    return tmp_path


@pytest.fixture
def write(root: Path) -> Callable[[str, str], None]:
    def write(name: str, text: str) -> None:
        place = root / "workflows" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(dedent(text), "utf-8")

    return write


def loaded(root: Path) -> Dag:
    dags, problems = load_workflows(root, max_tasks=10)
    assert problems == []
    return dags["uses"]


def again(dag: Dag, root: Path | None) -> Dag:
    return load_version(
        dag.dag_id, dag.version, file=dag.file, source=dag.source, modules=dag.modules, root=root
    )


def result(dag: Dag) -> Any:
    return dag.tasks[0].function()


def test_a_version_is_made_of_the_modules_that_its_file_imports(root: Path, write: Any) -> None:
    write("uses.py", WORKFLOW.format(imports="from _rate import RATE", value="RATE"))
    write("_rate.py", "RATE = 1\n")
    write("_other.py", "")

    before = loaded(root)
    write("_other.py", "X = 1\n")
    same = loaded(root)
    write("_rate.py", "RATE = 2\n")
    after = loaded(root)

    assert before.modules == {"_rate.py": "RATE = 1\n"}
    assert before.version == same.version != after.version
    assert result(after) == 2


@pytest.mark.parametrize(
    ("files", "imports", "value", "paths"),
    [
        ({"_a.py": "import _b\nR = _b.R\n", "_b.py": "R = 1\n"}, "import _a", "_a.R", ["_a.py", "_b.py"]),
        ({"_a.py": "R = 1\n"}, "import importlib\na = importlib.import_module('_a')", "a.R", ["_a.py"]),
        (
            {"_lib/__init__.py": "", "_lib/a.py": "from .b import R\n", "_lib/b.py": "R = 1\n"},
            "from _lib import a",
            "a.R",
            ["_lib/__init__.py", "_lib/a.py", "_lib/b.py"],
        ),
        ({"_lib/a.py": "R = 1\n"}, "import _lib.a", "_lib.a.R", ["_lib/a.py"]),
        ({"json.py": "1 / 0\n"}, "import json", "len(json.dumps(1))", []),
        ({}, "import json, os.path", "1", []),
    ],
)
def test_every_module_of_the_folder_that_is_imported_is_kept_and_found_again(
    root: Path, write: Any, files: dict[str, str], imports: str, value: str, paths: list[str]
) -> None:
    write("uses.py", WORKFLOW.format(imports=imports, value=value))
    for name, text in files.items():
        if name != "json.py":
            write(name, text)
    dag = loaded(root)
    for name in files:
        (root / "workflows" / name).unlink(missing_ok=True)
        write(name, "raise RuntimeError('another time')\n")

    kept = again(dag, root)

    assert list(dag.modules or {}) == paths
    assert result(kept) == result(dag) == 1
    assert not [name for name in sys.modules if name.partition(".")[0] in ("_a", "_b", "_lib", "_rate")]


def test_a_module_whose_name_is_made_at_run_time_is_that_of_the_folder(root: Path, write: Any) -> None:
    made = "import importlib, _rate\nmade = importlib.import_module('_' + 'made')"
    write("uses.py", WORKFLOW.format(imports=made, value="made.R + _rate.R"))
    write("_made.py", "R = 1\n")
    write("_rate.py", "R = 10\n")
    dag = loaded(root)
    write("_made.py", "R = 2\n")
    write("_rate.py", "R = 20\n")

    assert result(again(dag, root)) == 12


def test_a_version_that_was_kept_without_modules_loads_as_it_always_did(root: Path, write: Any) -> None:
    write("_rate.py", "RATE = 5\n")
    text = WORKFLOW.format(imports="from _rate import RATE", value="RATE")
    before = load_source(text, "workflows/uses.py", "uses", root=root)

    kept = load_version(
        "uses", before.version, file="workflows/uses.py", source=text, modules=None, root=root
    )

    assert (kept.modules, result(kept)) == (None, 5)


def test_a_version_without_modules_beside_it_has_the_version_that_it_always_had(
    root: Path, write: Any
) -> None:
    write("uses.py", WORKFLOW.format(imports="", value="1"))

    dag = loaded(root)

    assert dag.modules == {}
    assert dag.version == load_source(dag.source, dag.file, "uses").version


def test_kept_modules_that_make_another_graph_are_refused(root: Path, write: Any) -> None:
    write("uses.py", WORKFLOW.format(imports="from _rate import RATE", value="RATE"))
    write("_rate.py", "RATE = 1\n")
    dag = loaded(root)

    with pytest.raises(DefinitionError, match="now makes another graph"):
        load_version(
            "uses",
            dag.version,
            file=dag.file,
            source=dag.source,
            modules={"_rate.py": "RATE = 2\n"},
            root=root,
        )


def test_a_traceback_through_a_kept_module_shows_the_kept_text(root: Path, write: Any) -> None:
    write("uses.py", WORKFLOW.format(imports="from _rate import rate_of", value="rate_of()"))
    write("_rate.py", "def rate_of():\n    return 1 / 0  # as it was\n")
    dag = loaded(root)
    write("_rate.py", "\n")

    with pytest.raises(ZeroDivisionError) as caught:
        result(again(dag, root))

    assert "as it was" in str(caught.getrepr())


def test_a_dag_made_by_a_factory_of_a_kept_module_belongs_to_its_file(root: Path, write: Any) -> None:
    write(
        "_factory.py",
        """
        from tidemill import dag, task

        def make(name):
            @task
            def one() -> int:
                return 1

            @dag(dag_id=name)
            def made():
                return one()
        """,
    )
    write("uses.py", 'from _factory import make\nmake("uses")\n')
    dag = loaded(root)
    write("_factory.py", "")

    kept = again(dag, root)

    assert (kept.version, kept.line) == (dag.version, dag.line)
