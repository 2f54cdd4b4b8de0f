"""Which executors a service has: the local ones, and each engine that a DAG names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.errors import SettingsError
from tidemill.executors.absent import AbsentExecutor
from tidemill.executors.claimed import ClaimedExecutor
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.process.environment import allowed_environment
from tidemill.executors.process.executor import Allowances, ProcessExecutor
from tidemill.executors.remote.claims import LARGEST, Claims
from tidemill.executors.remote.executor import Observe, RemoteExecutor
from tidemill.executors.remote.request import Limits
from tidemill.executors.thread import ThreadExecutor
from tidemill.runs.attempts import Executor
from tidemill.settings import Settings

__all__ = ["build_executors", "connect_engines", "count_workers"]

#: Executors that are clusters of their own.
_ENGINES = ("ray", "dask")


async def build_executors(
    settings: Settings,
    dags: Mapping[str, Dag],
    *,
    root: Path | None = None,
    clock: Clock | None = None,
    observe: Observe | None = None,
) -> dict[str, Executor]:
    """One executor for every name that a task can give, connected.

    Raises `SettingsError` when a DAG names an engine that is switched off, not installed or not there.
    """
    claims = None if settings.claim_check_url is None else Claims(settings.claim_check_url)
    # What goes elsewhere is limited by the room there.
    largest = settings.max_result_bytes if claims is None else LARGEST
    local: dict[str, Executor] = {
        "loop": LoopExecutor(max_result_bytes=largest, clock=clock),
        "thread": ThreadExecutor(workers=settings.thread_workers, max_result_bytes=largest, clock=clock),
    }
    above = min(settings.claim_result_bytes, settings.max_result_bytes)
    made: dict[str, Executor] = {
        name: ClaimedExecutor(inner, claims, above=above, max_result_bytes=settings.max_result_bytes)
        for name, inner in local.items()
    }
    made["process"] = ProcessExecutor(
        limits=_limits(settings),
        workers=settings.process_limit,
        allowances=Allowances(
            memory=settings.process_memory or None, cpu_seconds=settings.process_cpu_seconds or None
        ),
        idle_seconds=settings.process_idle_seconds,
        environment=allowed_environment(settings.process_environment, os.environ),
        root=root,
        observe=observe,
        clock=clock,
    )
    for name in _ENGINES:
        made[name] = AbsentExecutor(f'no DAG names executor="{name}" any more, so it was not started')
    try:
        await connect_engines(made, settings, dags, root=root, clock=clock, observe=observe)
    except BaseException:
        for executor in made.values():
            await executor.close()
        raise
    return made


def count_workers(made: Mapping[str, Executor]) -> int:
    """Worker processes of this machine, their fork server included; 0 while there is nothing for them to do."""
    executor = made["process"]
    return len(executor.pids) if isinstance(executor, ProcessExecutor) else 0


async def connect_engines(
    made: dict[str, Executor],
    settings: Settings,
    dags: Mapping[str, Dag],
    *,
    root: Path | None = None,
    clock: Clock | None = None,
    observe: Observe | None = None,
) -> None:
    """Connect the engines that these DAGs name and that are not there yet; all read the project's code again.

    Raises `SettingsError` when one is switched off, not installed or not there; `made` keeps what it had.
    """
    for executor in made.values():
        if isinstance(executor, ProcessExecutor | RemoteExecutor):
            executor.forget_code()
    for name in _ENGINES:
        wanted = _naming(name, dags)
        if wanted is None or not isinstance(made[name], AbsentExecutor):
            continue
        remote = _remote(name, settings, wanted, root=root, clock=clock, observe=observe)
        try:
            await remote.connect()
        except BaseException:
            await remote.close()
            raise
        made[name] = remote


def _limits(settings: Settings) -> Limits:
    return Limits(settings.max_result_bytes, settings.claim_check_url, settings.claim_check_bytes)


def _naming(executor: str, dags: Mapping[str, Dag]) -> str | None:
    """The first DAG and task that name the executor."""
    for dag in dags.values():
        for node in dag.tasks:
            if node.executor == executor:
                return f"task {node.task_id!r} of DAG {dag.dag_id!r}"
    return None


def _remote(
    name: str,
    settings: Settings,
    wanted: str,
    *,
    root: Path | None,
    clock: Clock | None,
    observe: Observe | None,
) -> RemoteExecutor:
    address = settings.ray_address if name == "ray" else settings.dask_address
    if address is None:
        raise SettingsError(f'{wanted} has executor="{name}", and {name}_address says of no cluster; set it')
    limits = _limits(settings)
    if name == "ray":
        from tidemill.executors.remote.ray import RayExecutor

        return RayExecutor(
            address,
            limits=limits,
            root=root,
            pack_actors=settings.ray_pack_actors,
            pack_size=settings.ray_pack_size,
            wait_seconds=settings.cluster_wait_seconds,
            observe=observe,
            clock=clock,
        )
    from tidemill.executors.remote.dask import DaskExecutor

    return DaskExecutor(
        address,
        limits=limits,
        root=root,
        wait_seconds=settings.cluster_wait_seconds,
        observe=observe,
        clock=clock,
    )
