"""Results above a size are kept elsewhere: what is recorded, what tasks get, and what a loss or a death leaves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.unit.engine.checks import check_store

from tidemill import dag, task
from tidemill.dag.edges import when
from tidemill.runs.claims import claim_of
from tidemill.runs.rerun import Plan
from tidemill.testing.faults import CrashAt
from tidemill.testing.harness import HarnessError, MakeHarness

LARGE = ["x" * 100] * 20


@task
async def make(n: int) -> list[str]:
    return LARGE[: n or len(LARGE)]


@task
async def count(rows: list[str]) -> int:
    return len(rows)


@task
def first(rows: list[str]) -> str:
    return rows[0]


@dag
def flow(n: int = 0) -> Any:
    rows = make(n)
    return {"count": count(rows), "first": first(rows), "rows": rows}


def store(tmp_path: Path, **options: Any) -> dict[str, Any]:
    return {"claim_check_url": f"file://{tmp_path}/kept", "claim_result_bytes": 500, **options}


async def test_large_result_is_recorded_as_a_reference_and_given_to_tasks_as_the_value(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    async with tidemill_harness(dags=[flow], **store(tmp_path)) as harness:
        asked = await harness.start("flow")
        await harness.run_until_idle()

        run = await harness.run(asked)
        claim = claim_of(run.tasks["make"].result or b"")
        assert claim is not None
        assert (claim.run, claim.size) == (asked, len(orjson.dumps(LARGE)))
        assert (run.result("count"), run.result("first")) == (20, "x" * 100)
        (ended,) = await harness.events(type="dev.tidemill.run.succeeded.v1")
        assert ended.data["result"]["count"] == 20
        assert ended.data["result"]["rows"]["$claim"] == claim.url
        assert all(len(body) < 1000 for _, _, body in run.history)
        await check_store(harness, ended=1)


async def test_result_up_to_the_size_stays_in_the_history(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    async with tidemill_harness(dags=[flow], **store(tmp_path)) as harness:
        asked = await harness.start("flow", n=2)
        await harness.run_until_idle()

        assert (await harness.run(asked)).result("make") == LARGE[:2]
        assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("harm", ["lost", "changed", "cut"])
async def test_content_that_is_lost_or_changed_fails_whoever_needs_it(
    tidemill_harness: MakeHarness, tmp_path: Path, harm: str
) -> None:
    async with tidemill_harness(dags=[flow], **store(tmp_path)) as harness:
        asked = await harness.start("flow")
        await harness.run_until_idle()
        (kept,) = tmp_path.rglob("*.json")
        match harm:
            case "lost":
                kept.unlink()
            case "changed":
                kept.write_bytes(kept.read_bytes().replace(b"x", b"y"))
            case "cut":
                kept.write_bytes(kept.read_bytes()[:-9])

        again = await harness.rerun(asked, Plan(from_tasks=["count"]))
        await harness.run_until_idle()

        run = await harness.run(again)
        error = run.tasks["count"].error
        assert run.state == "failed"
        assert error is not None
        assert error.error_type == ("ClaimLost" if harm == "lost" else "ClaimDamaged")


async def test_what_the_graph_itself_reads_stays_whole(tidemill_harness: MakeHarness, tmp_path: Path) -> None:
    @task
    async def wrap(rows: list[str]) -> dict[str, Any]:
        return {"rows": rows, "n": len(rows)}

    @dag
    def picky() -> Any:
        rows = make(0)
        joined = first.expand(rows=[LARGE, LARGE])
        each = count.override(task_id="each").expand(rows=rows)
        summed = count.override(task_id="summed")(joined)
        when(wrap(rows), "result.n == 20") >> count.override(task_id="if_many")(rows)
        return [each, summed, wrap.override(task_id="again")(rows)["n"]]

    async with tidemill_harness(dags=[picky], **store(tmp_path)) as harness:
        asked = await harness.start("picky")
        await harness.run_until_idle()

        run = await harness.run(asked)
        assert run.state == "succeeded"
        assert run.result("make") == LARGE
        assert (run.result("if_many"), run.result("summed")) == (20, 2)
        (ended,) = await harness.events(type="dev.tidemill.run.succeeded.v1")
        assert ended.data["result"] == [[100] * 20, 2, 20]


async def test_result_that_must_stay_and_is_too_large_is_refused(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    @dag
    def mapped() -> Any:
        count.expand(rows=make(0))

    async with tidemill_harness(dags=[mapped], **store(tmp_path, max_result_bytes=1000)) as harness:
        asked = await harness.start("mapped")
        await harness.run_until_idle()

        error = (await harness.run(asked)).tasks["make"].error
        assert error is not None
        assert error.error_type == "ResultTooLarge"


async def test_store_that_takes_nothing_fails_the_attempt_and_a_later_one_may_succeed(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("in the way")

    @dag
    def patient() -> Any:
        return count(make.override(retries=2, retry_delay=5)(0))

    async with tidemill_harness(dags=[patient], **store(tmp_path)) as harness:
        asked = await harness.start("patient")
        await harness.run_until_idle()
        waiting = (await harness.run(asked)).tasks["make"]
        (tmp_path / "kept").unlink()
        await harness.run_until_done()

        assert waiting.state == "retrying"
        assert waiting.error is not None
        assert waiting.error.error_type == "ClaimNotStored"
        assert (await harness.run(asked)).result("count") == 20


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("passage", [1, 2, 3, 4])
async def test_death_between_the_file_and_its_record_leaves_only_a_file_in_the_folder_of_the_run(
    tidemill_harness: MakeHarness, tmp_path: Path, side: str, passage: int
) -> None:
    async with tidemill_harness(dags=[flow], **store(tmp_path)) as harness:
        harness.faults.append(CrashAt(f"record.{side}_commit", passage))
        with suppress(HarnessError):
            await harness.start("flow")
            await harness.run_until_idle()
        if not harness.is_running:
            await harness.restart(faults=[])
            await harness.run_until_idle()

        (summary,) = await harness.runs()
        run = await harness.run(summary.run_id)
        assert (run.state, run.result("count")) == ("succeeded", 20)
        folders = {file.parent.name for file in tmp_path.rglob("*.json")}
        assert folders == {summary.run_id}
        await check_store(harness, ended=1)


async def test_run_that_takes_over_a_reference_holds_what_it_refers_to(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    async with tidemill_harness(dags=[flow], **store(tmp_path)) as harness:
        asked = await harness.start("flow")
        await harness.run_until_idle()

        again = await harness.rerun(asked, Plan(from_tasks=["count"]))
        await harness.run_until_idle()
        third = await harness.rerun(again, Plan(from_tasks=["count"]))
        await harness.run_until_idle()

        reading = harness.store.keeping._reading
        rows = await reading.rows("holds", frozenset({asked, again}))
        assert sorted((held, holder) for held, holder, _ in rows) == sorted([(asked, again), (asked, third)])
        assert (await harness.run(third)).result("count") == 20


async def test_cached_reference_is_used_and_held(tidemill_harness: MakeHarness, tmp_path: Path) -> None:
    @task(cache=True)
    async def costly() -> list[str]:
        return LARGE

    @dag
    def cached() -> Any:
        return count(costly())

    async with tidemill_harness(dags=[cached], **store(tmp_path)) as harness:
        asked = await harness.start("cached")
        await harness.run_until_idle()
        again = await harness.start("cached")
        await harness.run_until_idle()

        run = await harness.run(again)
        assert (run.tasks["costly"].reused, run.result("count")) == ("cached", 20)
        assert len(list(tmp_path.rglob("*.json"))) == 1
        rows = await harness.store.keeping._reading.rows("holds", frozenset({asked}))
        assert [tuple(row)[:2] for row in rows] == [(asked, again)]


async def test_reference_is_never_a_value_once_the_store_is_gone(
    tidemill_harness: MakeHarness, tmp_path: Path
) -> None:
    settings = store(tmp_path)
    async with tidemill_harness(dags=[flow], **settings) as harness:
        asked = await harness.start("flow")
        await harness.run_until_idle()
        harness._settings = harness._settings.model_copy(update={"claim_check_url": None})
        await harness.restart()

        again = await harness.rerun(asked, Plan(from_tasks=["count"]))
        await harness.run_until_idle()

        error = (await harness.run(again)).tasks["count"].error
        assert error is not None
        assert error.error_type == "ClaimLost"
