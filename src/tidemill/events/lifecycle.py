"""Events of our own: their types, and the builders that every stage uses, so that ids and shapes agree.

Ids are derived from what happened: the same happening, told again after a crash, is the same event. Builders
take times as microseconds since the epoch and never look at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import orjson

from tidemill.clock import rfc3339
from tidemill.events import limits
from tidemill.events.event import JSON, Event, ExtensionValue

__all__ = [
    "REPLAY_EXTENSIONS",
    "RESERVED_PREFIX",
    "TREE_SOURCE",
    "Type",
    "dag_requested",
    "dag_source",
    "file_landed",
    "file_set_landed",
    "redriven",
    "replayed",
    "retry_requested",
    "run_completed",
    "run_type",
    "run_waiting",
    "schedule_source",
    "schedule_tick",
    "source_gap",
    "source_tick",
    "subscription_changed",
    "tree_completed",
]

#: Types that start so are made here only; from outside they are refused.
RESERVED_PREFIX = "dev.tidemill."
#: Extensions of events that are told again: the replay, the position of the original, the triggers that are told.
REPLAY_EXTENSIONS = ("replayid", "replayof", "replayto")


class Type(StrEnum):
    """Types of our own events."""

    RUN_QUEUED = "dev.tidemill.run.queued.v1"
    RUN_STARTED = "dev.tidemill.run.started.v1"
    RUN_WAITING = "dev.tidemill.run.waiting.v1"
    RUN_SUCCEEDED = "dev.tidemill.run.succeeded.v1"
    RUN_FAILED = "dev.tidemill.run.failed.v1"
    RUN_CANCELLED = "dev.tidemill.run.cancelled.v1"
    TASK_STARTED = "dev.tidemill.task.started.v1"
    TASK_SUCCEEDED = "dev.tidemill.task.succeeded.v1"
    TASK_FAILED = "dev.tidemill.task.failed.v1"
    TASK_SKIPPED = "dev.tidemill.task.skipped.v1"
    TASK_RETRYING = "dev.tidemill.task.retrying.v1"
    ASSET_UPDATED = "dev.tidemill.asset.updated.v1"
    ASSET_STALE = "dev.tidemill.asset.stale.v1"
    ASSET_CHECK_FAILED = "dev.tidemill.asset.check_failed.v1"
    SCHEDULE_TICK = "dev.tidemill.schedule.tick.v1"
    DAG_REQUESTED = "dev.tidemill.dag.requested.v1"
    RETRY_REQUESTED = "dev.tidemill.run.retry_requested.v1"
    FILE_LANDED = "dev.tidemill.file.landed.v1"
    SOURCE_GAP = "dev.tidemill.source.gap.v1"
    ROW_INSERTED = "dev.tidemill.row.inserted.v1"
    ROW_UPDATED = "dev.tidemill.row.updated.v1"
    ROW_DELETED = "dev.tidemill.row.deleted.v1"
    ROW_READ = "dev.tidemill.row.read.v1"
    TABLE_TRUNCATED = "dev.tidemill.table.truncated.v1"
    SOURCE_TICK = "dev.tidemill.source.tick.v1"
    FILE_SET_LANDED = "dev.tidemill.file.set_landed.v1"
    SUBSCRIPTION_CHANGED = "dev.tidemill.subscription.changed.v1"
    TREE_COMPLETED = "dev.tidemill.tree.completed.v1"


def replayed(event: Event, *, replay: str, position: int, triggers: Sequence[str]) -> Event:
    """The event at `position` as it is told again by a replay, to `triggers` (none: to all).

    What follows from it is a story of its own: it continues neither the correlation nor the hops of the first.
    """
    kept = {
        name: value
        for name, value in event.extensions.items()
        if name not in ("correlationid", "causationid", "hopcount", *REPLAY_EXTENSIONS)
    }
    marks: dict[str, ExtensionValue] = {"replayid": replay, "replayof": str(position)}
    if triggers:
        marks["replayto"] = ",".join(triggers)
    return replace(event, id=f"{event.id}/replay/{replay}", extensions={**kept, **marks})


def redriven(event: Event, *, letter: str, position: int, trigger: str) -> Event:
    """The event at `position` as it is routed again for `trigger`, because somebody redrove its dead letter.

    The same for the same letter always. Unlike a replay it goes on with the story that it belongs to.
    """
    marks: dict[str, ExtensionValue] = {
        "correlationid": event.extensions.get("correlationid") or event.id,
        "replayid": f"letter-{letter}",
        "replayof": str(position),
        "replayto": trigger,
    }
    kept = event.id[: limits.MAX_ATTRIBUTE_BYTES // 4]
    return replace(event, id=f"{kept}/redrive/{letter}", extensions={**event.extensions, **marks})


def subscription_changed(
    *, subscription: str, action: str, revision: str, rule: JSON, by: str, at_us: int
) -> Event:
    """The event that tells that a subscription was created, updated or deleted by API; it counts from there on.

    `rule` has `source`, `types` and `filters`; where deliveries go is told to nobody.
    """
    return Event(
        id=revision,
        source="/tidemill/subscriptions",
        type=Type.SUBSCRIPTION_CHANGED.value,
        subject=subscription,
        time=rfc3339(at_us),
        datacontenttype="application/json",
        data={"subscription": subscription, "action": action, "rule": rule, "by": by},
    )


#: Waits that an event lists.
_TOLD = 100
#: Source of events about trees; their ids are correlation ids.
TREE_SOURCE = "/tidemill/trees"


def tree_completed(
    *, correlation_id: str, root: JSON, runs: Mapping[str, int], hop_count: int, queued_at: int, ended_at: int
) -> Event:
    """The one event that tells that everything has ended which an event caused; its id is the correlation id."""
    return Event(
        id=correlation_id,
        source=TREE_SOURCE,
        type=Type.TREE_COMPLETED.value,
        subject=correlation_id,
        time=rfc3339(ended_at),
        datacontenttype="application/json",
        data={
            "correlation_id": correlation_id,
            "root": root,
            "runs": dict(runs),
            "queued_at": rfc3339(queued_at),
            "ended_at": rfc3339(ended_at),
        },
        extensions={"correlationid": correlation_id, "hopcount": hop_count},
    )


def _chain(
    correlation_id: str, causation_id: str, hop_count: int, traceparent: str | None
) -> dict[str, ExtensionValue]:
    """What an event of ours carries of the chain that it belongs to."""
    extensions: dict[str, ExtensionValue] = {
        "correlationid": correlation_id,
        "causationid": causation_id,
        "hopcount": hop_count,
    }
    if traceparent is not None:
        extensions["traceparent"] = traceparent
    return extensions


@lru_cache(maxsize=4096)
def run_type(state: str) -> str:
    """The type of the event that tells that a run reached `state`."""
    return f"dev.tidemill.run.{state}.v1"


@lru_cache(maxsize=4096)
def dag_source(dag: str) -> str:
    """The `source` of events about runs of `dag`."""
    return f"/tidemill/dags/{quote(dag, safe='')}"


@lru_cache(maxsize=4096)
def schedule_source(dag: str) -> str:
    """The `source` of events of the schedule of `dag`."""
    return f"/tidemill/schedules/{quote(dag, safe='')}"


def run_completed(
    *,
    dag: str,
    run_id: str,
    state: str,
    version: str,
    trigger: str,
    at_us: int,
    event_source: str,
    event_id: str,
    result: bytes | None,
    error: Mapping[str, Any] | None,
    parameters: bytes,
    started_at: int | None,
    queued_at: int,
    correlation_id: str,
    causation_id: str,
    hop_count: int,
    traceparent: str | None,
) -> Event:
    """The one event that tells that a run ended in `state` at `at_us`; its id is run id and state.

    `result` and `parameters` are JSON text. `event_source` and `event_id` name the event that started it.
    """
    extensions = _chain(correlation_id, causation_id, hop_count, traceparent)
    ended_at = rfc3339(at_us)
    return Event(
        id=f"{run_id}/{state}",
        source=dag_source(dag),
        type=run_type(state),
        subject=run_id,
        time=ended_at,
        datacontenttype="application/json",
        data={
            "run_id": run_id,
            "dag": dag,
            "version": version,
            "state": str(state),
            "trigger": trigger,
            "event": {"source": event_source, "id": event_id},
            "parameters": orjson.loads(parameters),
            "result": None if result is None else orjson.loads(result),
            "error": None if error is None else dict(error),
            "queued_at": rfc3339(queued_at),
            "started_at": None if started_at is None else rfc3339(started_at),
            "ended_at": ended_at,
        },
        extensions=extensions,
    )


def run_waiting(
    *,
    dag: str,
    run_id: str,
    sequence: int,
    version: str,
    trigger: str,
    at_us: int,
    waits: Sequence[Mapping[str, Any]],
    correlation_id: str,
    causation_id: str,
    hop_count: int,
    traceparent: str | None,
) -> Event:
    """The event that tells that everything left of a run waits; one each time that it begins to.

    `sequence` is that of the decision; `waits` have `task`, `kind`, `due_at` in microseconds or None, and more by kind.
    """
    extensions = _chain(correlation_id, causation_id, hop_count, traceparent)
    at = rfc3339(at_us)
    told = [
        {**one, "due_at": None if one["due_at"] is None else rfc3339(one["due_at"])} for one in waits[:_TOLD]
    ]
    return Event(
        id=f"{run_id}/waiting/{sequence}",
        source=dag_source(dag),
        type=Type.RUN_WAITING.value,
        subject=run_id,
        time=at,
        datacontenttype="application/json",
        data={
            "run_id": run_id,
            "dag": dag,
            "version": version,
            "state": "waiting",
            "trigger": trigger,
            "waits": told,
            "waiting_since": at,
        },
        extensions=extensions,
    )


def schedule_tick(*, dag: str, scheduled_at_us: int, interval_start_us: int, interval_end_us: int) -> Event:
    """The event that starts the scheduled run of `dag` for one interval; one per DAG and scheduled time."""
    scheduled_at = rfc3339(scheduled_at_us)
    return Event(
        id=f"{dag}/{scheduled_at}",
        source=schedule_source(dag),
        type=Type.SCHEDULE_TICK.value,
        subject=dag,
        time=scheduled_at,
        datacontenttype="application/json",
        data={
            "dag": dag,
            "scheduled_at": scheduled_at,
            "interval_start": rfc3339(interval_start_us),
            "interval_end": rfc3339(interval_end_us),
        },
    )


def source_tick(
    *,
    name: str,
    type: str,  # noqa: A002
    source: str,
    scheduled_at_us: int,
    interval_start_us: int,
    interval_end_us: int,
) -> Event:
    """The event that tells a tick of the schedule called `name`; one per schedule and scheduled time."""
    scheduled_at = rfc3339(scheduled_at_us)
    return Event(
        id=f"{name}/{scheduled_at}",
        source=source,
        type=type,
        subject=name,
        time=scheduled_at,
        datacontenttype="application/json",
        data={
            "schedule": name,
            "scheduled_at": scheduled_at,
            "interval_start": rfc3339(interval_start_us),
            "interval_end": rfc3339(interval_end_us),
        },
    )


def dag_requested(
    *,
    dag: str,
    parameters: JSON,
    id: str,  # noqa: A002
    by: str,
    at_us: int | None = None,
    parent: tuple[str, str] | None = None,
    correlation_id: str | None = None,
    hop_count: int = 0,
    traceparent: str | None = None,
) -> Event:
    """The event that starts a run of `dag` because `by` asked for it; `id` makes the asking idempotent.

    `parent` is the run inside of which it runs, and the task there.
    """
    extensions: dict[str, ExtensionValue] = {}
    inside: dict[str, Any] = {}
    if parent is not None:
        inside = {"parent": {"run_id": parent[0], "task": parent[1]}}
        extensions = _chain(correlation_id or id, parent[0], hop_count, traceparent)
    return Event(
        id=id,
        source=dag_source(dag),
        type=Type.DAG_REQUESTED.value,
        subject=dag,
        time=None if at_us is None else rfc3339(at_us),
        datacontenttype="application/json",
        data={"dag": dag, "parameters": parameters, "by": by, **inside},
        extensions=extensions,
    )


def retry_requested(
    *,
    dag: str,
    run_id: str,
    parameters: JSON,
    id: str,  # noqa: A002
    by: str,
    at_us: int | None = None,
    rerun: JSON = None,
    version: str | None = None,
) -> Event:
    """The event that starts a new run of `dag` which takes over what `run_id` has already done.

    `rerun` says what of it, where it is not everything (see `runs.rerun.Plan`); `version` is the DAG's, where it is
    not the current one, and `parameters` are those of that version then.
    """
    chosen = {} if rerun is None else {"rerun": rerun}
    if version is not None:
        chosen["version"] = version
    return Event(
        id=id,
        source=dag_source(dag),
        type=Type.RETRY_REQUESTED.value,
        subject=dag,
        time=None if at_us is None else rfc3339(at_us),
        datacontenttype="application/json",
        data={"dag": dag, "run_id": run_id, "parameters": parameters, "by": by, **chosen},
    )


def file_landed(
    *,
    type: str,  # noqa: A002
    source: str,
    folder: str,
    path: str,
    inode: int,
    size: int,
    mtime_ns: int,
    digest: str,
    archived_to: str | None = None,
) -> Event:
    """The event that tells that one settled version of a file is there, and the same for that version always.

    The version is path (relative to `folder`), inode, size and mtime. Names that are not UTF-8 (surrogate
    escapes) are shown with backslash escapes.
    """
    raw_path = path.encode("utf-8", "surrogateescape")
    version = b"%b\0%d\0%d\0%d" % (raw_path, inode, size, mtime_ns)
    shown_path = _shown(path)
    return Event(
        id=blake2b(version, digest_size=16).hexdigest(),
        source=source,
        type=type,
        subject=_subject(shown_path),
        time=rfc3339(mtime_ns // 1000),
        datacontenttype="application/json",
        data={
            "path": shown_path,
            "name": shown_path.rpartition("/")[2],
            "size": size,
            "mtime": rfc3339(mtime_ns // 1000),
            "digest": digest,
            "folder": _shown(folder),
            **({} if archived_to is None else {"archived_to": _shown(archived_to)}),
        },
    )


def file_set_landed(
    *,
    type: str,  # noqa: A002
    source: str,
    folder: str,
    key: str,
    keys: Mapping[str, str],
    digest: str,
    mtime_ns: int,
    count: int,
    size: int,
    files: Sequence[Mapping[str, JSON]],
    archived_to: str | None = None,
) -> Event:
    """The event that tells that every file of a set is there; `digest` stands for all versions of its files.

    `keys` are the values in the files' names that make the key; `files` may be the first of `count`.
    """
    return Event(
        id=digest,
        source=source,
        type=type,
        subject=_subject(_shown(key) or "/"),
        time=rfc3339(mtime_ns // 1000),
        datacontenttype="application/json",
        data={
            "key": _shown(key),
            "keys": {name: _shown(value) for name, value in keys.items()},
            "folder": _shown(folder),
            "count": count,
            "size": size,
            "files": [dict(file) for file in files],
            **({} if archived_to is None else {"archived_to": _shown(archived_to)}),
        },
    )


def _shown(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _subject(path: str) -> str | None:
    """The path as an attribute: percent-encoded where it holds what an attribute must not."""
    subject = path if path.isprintable() else quote(path)
    return subject if subject and len(subject.encode()) <= limits.MAX_ATTRIBUTE_BYTES else None


def source_gap(*, name: str, kind: str, place: str, reason: str, at_us: int, **facts: JSON) -> Event:
    """The event that tells that a source has missed something, or may have; `place` makes it one event for ever.

    `reason` is a snake_case word; `facts` say what is known of what was missed.
    """
    identity = blake2b(f"{name}\0{place}\0{reason}".encode(), digest_size=16).hexdigest()
    return Event(
        id=identity,
        source=f"/tidemill/sources/{quote(name, safe='')}",
        type=Type.SOURCE_GAP.value,
        subject=name,
        time=rfc3339(at_us),
        datacontenttype="application/json",
        data={"source": name, "kind": kind, "reason": reason, "place": place, **facts},
    )
