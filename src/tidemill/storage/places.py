"""The order of a DAG's runs, as tasks that depend on the past see it: a run that was made again keeps its place."""

from __future__ import annotations

from tidemill.storage.contract import NewRun, RunSummary, Store

__all__ = ["place_of"]

#: Retries of retries that are followed to the first run.
_RETRIES = 1000


async def place_of(store: Store, run: NewRun | RunSummary) -> str:
    """The run whose place in the order of runs this one has. Raises `StorageError`."""
    found: NewRun | RunSummary | None = run
    place = run.run_id
    for _ in range(_RETRIES):
        if found is None or found.trigger != "retry":
            break
        asked = await store.log.get(found.position)
        data = asked.event.data if asked is not None else None
        earlier = data.get("run_id") if isinstance(data, dict) else None
        if not isinstance(earlier, str):
            break
        place = earlier
        found = await store.runs.get(earlier)
    return place
