"""Joining a cluster as the service does: in a process that is not part of one yet."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.conformance.executors import is_broken_in_ray

from tidemill.dag.definition import Dag
from tidemill.errors import SettingsError
from tidemill.executors.build import build_executors
from tidemill.project.workflows import load_source
from tidemill.settings import Settings
from tidemill.testing.clusters import TestCluster

SOURCE = (
    "from tidemill import dag, task\n@task(executor='ENGINE')\ndef work(): return 7\n@dag\ndef d(): work()"
)

#: Joins, makes one attempt, leaves; prints what came of it.
SCRIPT = """
import asyncio, signal
from tidemill.errors import SettingsError
from tidemill.executors.build import build_executors
from tidemill.project.workflows import load_source
from tidemill.runs.attempts import Attempt, Inputs
from tidemill.settings import Settings

PREPARE

async def main():
    dag = load_source({source!r}, "workflows/d.py", "d")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        made = await build_executors(Settings({engine}_address={address!r}), {{"d": dag}})
    except SettingsError as error:
        print("REFUSED", error)
        return
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    done = asyncio.get_running_loop().create_future()
    attempt = Attempt("run", dag, dag.tasks[0], 1, (), {{}}, Inputs({{}}, b"{{}}"))
    made[{engine!r}].start(attempt, done.set_result)
    print("RESULT", (await done).result.decode())
    for executor in made.values():
        await executor.close()

asyncio.run(main())
"""


def dags(engine: str) -> dict[str, Dag]:
    """A project whose only task names this engine."""
    return {"d": load_source(SOURCE.replace("ENGINE", engine), "workflows/d.py", "d")}


async def joined(engine: str, address: str, prepare: str = "") -> str:
    """What the script prints."""
    script = SCRIPT.replace("PREPARE", textwrap.dedent(prepare)).format(
        source=SOURCE.replace("ENGINE", engine), engine=engine, address=address
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_ray_is_joined_and_left(own_ray_cluster: TestCluster) -> None:
    inside = await joined("ray", own_ray_cluster.address)
    outside = await joined("ray", own_ray_cluster.client)
    if is_broken_in_ray(outside):
        pytest.skip(f"Ray could not start its own client server: {outside}")

    assert own_ray_cluster.client.startswith("ray://")
    assert (inside, outside) == ("RESULT 7", "RESULT 7")


async def test_dask_is_joined_and_left(dask_cluster: TestCluster) -> None:
    assert await joined("dask", dask_cluster.address) == "RESULT 7"


async def test_ray_of_another_version_is_a_sentence(ray_cluster: TestCluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.1.0'")

    said = await joined(
        "ray", ray_cluster.address, f"import os\nos.environ['PYTHONPATH'] = {str(tmp_path)!r}"
    )

    assert said.startswith(f"REFUSED ray_address: {ray_cluster.address}: Version mismatch")
    assert "2.1.0" in said
    assert len(said.splitlines()) == 1


async def test_dask_of_another_version_is_a_sentence(dask_cluster: TestCluster) -> None:
    said = await joined(
        "dask", dask_cluster.address, "import distributed\ndistributed.__version__ = '2020.1.0'"
    )

    assert said.startswith("REFUSED dask_address: the scheduler has distributed ")
    assert "2020.1.0" in said


async def test_scheduler_that_repeats_tasks_by_itself_is_refused(dask_cluster: TestCluster) -> None:
    with (
        TestCluster("dask", "3") as repeating,
        pytest.raises(SettingsError, match=r"repeats tasks by itself \(3 times\).*ALLOWED_FAILURES=0"),
    ):
        await build_executors(Settings(dask_address=repeating.address), dags("dask"))
