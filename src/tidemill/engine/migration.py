"""A run goes on with another version of its DAG, because somebody asked for it: checked, recorded, read back."""

from __future__ import annotations

import logging

from tidemill.clock import Clock
from tidemill.dag.definition import Dag
from tidemill.engine.versions import Versions
from tidemill.errors import StorageError, TidemillError
from tidemill.runs.migration import misfits
from tidemill.runs.records import RunMigrated, decode, encode
from tidemill.runs.state import RunPhase, RunState
from tidemill.storage.contract import Recorded, Request, RunEnd, RunSummary, Store

__all__ = ["KIND", "is_migration", "is_settled", "move", "version_asked"]

logger = logging.getLogger(__name__)

#: Requests of this kind name the version behind it.
KIND = "migrate:"


def is_migration(request: Request) -> bool:
    """Whether somebody asks to move a run."""
    return request.kind.startswith(KIND)


def version_asked(request: Request) -> str:
    """The version that the run is to go on with."""
    return request.kind.removeprefix(KIND)


async def is_settled(store: Store, request: Request, state: RunState) -> bool:
    """Whether all that was decided of the run is on disk (and the move, where its answer was lost)."""
    history = await store.runs.history(request.run_id)
    if len(history) == state.sequence:
        return True
    return bool(history) and _is_moved(history[-1][2], version_asked(request))


async def move(
    store: Store, versions: Versions, request: Request, run: RunSummary, *, clock: Clock
) -> RunSummary | None:
    """The run as it is moved, durable on return; None where it is left as it was, which is logged.

    The caller sees to it that nobody else decides about the run meanwhile, and reads it back. Asked again after a lost
    answer, a run that was moved already is.
    """
    version = version_asked(request)
    history = await store.runs.history(run.run_id)
    if run.version == version and history and _is_moved(history[-1][2], version):
        return run
    try:
        old, new = await versions.find(run.dag, run.version), await versions.find(run.dag, version)
        reasons = _reasons(old, new, run, history)
    except StorageError:
        raise
    except (TidemillError, LookupError, ValueError, TypeError) as error:
        reasons = [str(error)]
    if reasons:
        facts = {"run_id": run.run_id, "version": version, "reasons": reasons}
        logger.warning("run.not_migrated", extra=facts)
        return None
    if run.state == RunPhase.QUEUED:
        await store.runs.move_queued(run.run_id, version)
    else:
        record = RunMigrated(version, run.version, request.by)
        summary = RunEnd(run.state, run.started_at, None, version)
        row = Recorded(run.run_id, len(history), clock.now_us(), encode([record]), summary)
        fence = {(run.shard, store.shards.epoch(run.shard))} if store.shards.shared else None
        await store.runs.record([row], fence=fence)
    facts = {"run_id": run.run_id, "dag": run.dag, "version": version, "was": run.version, "by": request.by}
    logger.info("run.migrated", extra=facts)
    return await store.runs.get(run.run_id)


def _is_moved(body: bytes, version: str) -> bool:
    return any(isinstance(record, RunMigrated) and record.version == version for record in decode(body))


def _reasons(old: Dag, new: Dag, run: RunSummary, history: list[tuple[int, int, bytes]]) -> list[str]:
    if new.version == old.version:
        return [f"the run is on version {old.version} already"]
    return misfits(old, new, run.parameters, history)
