"""Versions of a DAG are described by what is not the default, and compared in words for reviews."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from tidemill.dag.description import described
from tidemill.dag.version_diff import changes, source_diff
from tidemill.project.workflows import load_source

BEFORE = """
from datetime import timedelta
from tidemill import dag, task
from _lib import RATE

@task
def extract(n: int) -> list[int]:
    return [n]

@task(retries=2)
def load(rows: list[int]) -> int:
    return len(rows)

@task
def gone() -> None:
    pass

@dag(schedule="0 5 * * *", tags=["a"])
def flow(n: int, label: str = "x"):
    load(extract(n))
    gone()
"""
AFTER = """
from datetime import timedelta
from tidemill import dag, failure_of, task
from _lib import RATE

@task(timeout=30, pool="few")
def extract(n: int) -> list[int]:
    return [n]

@task(retries=5)
def load(rows: list[int]) -> str:
    return ""

@task(trigger_rule="one_failed")
def repair() -> None:
    pass

@dag(schedule=timedelta(hours=2), max_active_runs=3, tags=["a"])
def flow(n: float, more: int = 1):
    loaded = load(extract(n))
    failure_of(loaded) >> repair()
"""


def version(text: str, rate: int = 1) -> dict[str, Any]:
    modules = {"_lib.py": f"RATE = {rate}\n"}
    return described(load_source(dedent(text), "workflows/flow.py", "flow", modules=modules))


def test_changes_are_told_by_kind_in_a_fixed_order() -> None:
    found = [str(change) for change in changes(version(BEFORE), version(AFTER))]

    assert found == [
        "~ option max_active_runs: 16 -> 3",
        "~ option schedule: cron=0 5 * * * -> interval=7200 s",
        "- parameter label",
        "+ parameter more: int = 1",
        "~ parameter n: int -> float",
        "~ task extract policy: (default) -> pool=few",
        "~ task extract timeout: (default) -> 30 s",
        "- task gone",
        "~ task load retry: max_attempts=3 -> max_attempts=6",
        "~ task load returns: int -> str",
        "+ task repair: function repair, executor thread, returns None, meaning one_failed",
        "+ edge load -> repair: failure",
    ]


def test_same_version_has_no_changes() -> None:
    assert changes(version(BEFORE), version(BEFORE)) == []
    assert source_diff(version(BEFORE), version(BEFORE)) == []


def test_edge_that_counts_differently_is_changed() -> None:
    other = AFTER.replace("failure_of(loaded)", "loaded")

    found = [str(change) for change in changes(version(AFTER), version(other))]

    assert found == ["~ edge load -> repair: failure -> success"]


def test_texts_of_file_and_modules_are_compared() -> None:
    found = source_diff(version(BEFORE), version(BEFORE.replace("return [n]", "return [n, n]"), rate=2))

    assert found[:3] == ["--- a/workflows/_lib.py", "+++ b/workflows/_lib.py", "@@ -1 +1 @@"]
    assert "-RATE = 1" in found
    assert "+    return [n, n]" in found


def test_modules_that_are_not_known_are_not_compared() -> None:
    known = version(BEFORE)
    unknown = {**version(BEFORE, rate=2), "modules": None}

    assert source_diff(unknown, known) == []
