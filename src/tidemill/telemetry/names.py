"""The one table of log events. Code logs by these names, the reference lists them, a test holds all three together.

INFO: once per run start and end, stage start and stop. DEBUG: each decision. WARNING: healed by ourselves.
ERROR: needs a human. Event data and results are never logged at INFO.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOG_EVENTS", "LogEvent"]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event: its fixed name, level, fields and meaning."""

    name: str
    level: str
    fields: tuple[str, ...]
    meaning: str


LOG_EVENTS: tuple[LogEvent, ...] = (
    LogEvent(
        "service.started", "INFO", ("url", "project", "seconds"), "All stages run and the service is ready."
    ),
    LogEvent(
        "service.draining", "INFO", ("signal",), "A stop was asked for; readiness is false from here on."
    ),
    LogEvent("service.stopped", "INFO", ("seconds",), "Everything is stopped and on disk."),
    LogEvent(
        "project.reloaded",
        "INFO",
        ("version", "was", "seconds"),
        "The project's folders were edited; the new version is live.",
    ),
    LogEvent(
        "project.failed",
        "ERROR",
        ("version", "error"),
        "An edit met a mistake of ours or of a plug-in's; the version that was live still is.",
    ),
    LogEvent(
        "project.refused",
        "ERROR",
        ("version", "problems"),
        "The project's folders were edited and are wrong; the version that was live goes on.",
    ),
    LogEvent(
        "project.warning",
        "WARNING",
        ("warning",),
        "Something in the definitions is allowed and probably not meant.",
    ),
    LogEvent("stage.failed", "ERROR", ("stage", "error"), "A stage ended by an error; the service stops."),
    LogEvent(
        "stage.interrupted",
        "WARNING",
        ("stage", "error"),
        "A stage got no answer from the store; it begins again in a second.",
    ),
    LogEvent(
        "stage.overtaken",
        "WARNING",
        ("stage", "error"),
        "Another node had moved the stage's cursor; it goes on from there.",
    ),
    LogEvent(
        "retention.dropped",
        "INFO",
        ("first", "last", "archived"),
        "A segment of the log was dropped; `archived` names its file in the archive.",
    ),
    LogEvent(
        "replay.failed",
        "ERROR",
        ("replay", "error"),
        "A replay cannot go on, because of the archive for example; it is tried again in a minute.",
    ),
    LogEvent("retention.dropped_runs", "INFO", ("runs",), "Ended runs of dropped events were dropped."),
    LogEvent(
        "retention.gave_up_deliveries",
        "WARNING",
        ("first", "last", "deliveries"),
        "Events became dead letters that waited for `undelivered_days` for subscriptions that do not deliver.",
    ),
    LogEvent(
        "retention.failed", "ERROR", ("error",), "The log is not kept within its limits; it is tried again."
    ),
    LogEvent("replay.ended", "INFO", ("replay", "told", "skipped"), "A replay has told all its events."),
    LogEvent("run.started", "INFO", ("run_id", "dag"), "A run started."),
    LogEvent("run.ended", "INFO", ("run_id", "dag", "state"), "A run reached a final state."),
    LogEvent(
        "durations.not_saved",
        "INFO",
        ("error",),
        "What was learned of tasks' durations could not be written; it is tried again.",
    ),
    LogEvent(
        "run.migrated",
        "INFO",
        ("run_id", "dag", "version", "was", "by"),
        "A run goes on with another version of its DAG.",
    ),
    LogEvent(
        "run.not_migrated",
        "WARNING",
        ("run_id", "version", "reasons"),
        "A run was to go on with another version of its DAG, and what it has done does not fit; it goes on as it was.",
    ),
    LogEvent("run.recovered", "INFO", ("runs",), "Live runs were read back after a restart."),
    LogEvent(
        "wait.ended", "DEBUG", ("run_id", "task", "result"), "What a task waited for came, or its time is up."
    ),
    LogEvent(
        "wait.pattern_refused",
        "ERROR",
        ("pattern", "error"),
        "A kept pattern cannot be used by this version: waits for it end by their time only.",
    ),
    LogEvent(
        "wait.look_back_failed",
        "ERROR",
        ("error",),
        "Reading the log for waits failed by a mistake of ours; it is tried again.",
    ),
    LogEvent(
        "run.abandoned",
        "ERROR",
        ("run_id", "error"),
        "A run's history does not fit its definition; it was failed.",
    ),
    LogEvent(
        "run.dropped",
        "WARNING",
        ("run_id", "dag"),
        "This node has lost the run's shard; its attempts here are stopped and nothing of them is recorded.",
    ),
    LogEvent(
        "task.retrying",
        "WARNING",
        ("run_id", "task", "attempt", "error", "delay"),
        "An attempt failed and is tried again.",
    ),
    LogEvent("task.failed", "WARNING", ("run_id", "task", "attempt", "error"), "A task failed for good."),
    LogEvent(
        "task.said",
        "INFO",
        ("run_id", "task", "attempt", "worker", "severity", "line"),
        "A task on a cluster or in a worker process printed or logged a line; `severity` is its own level.",
    ),
    LogEvent(
        "executor.failed",
        "ERROR",
        ("executor", "error"),
        "Handing attempts to a cluster or to worker processes met a mistake of ours; those attempts failed.",
    ),
    LogEvent(
        "executor.unreachable",
        "WARNING",
        ("executor", "error"),
        "A cluster has been gone for a minute; it is tried again.",
    ),
    LogEvent("worker.started", "DEBUG", ("pid",), "A worker process is there."),
    LogEvent(
        "worker.ended",
        "DEBUG",
        ("pid", "status"),
        "A worker process is gone: idle, used up, stopped or dead; `status` is as the system tells it.",
    ),
    LogEvent("executor.rejoined", "WARNING", ("executor",), "A cluster is there again."),
    LogEvent("sink.not_closed", "ERROR", ("error",), "A sink that an edit took away could not be closed."),
    LogEvent("store.commit_failed", "ERROR", ("error",), "A commit failed; whoever waited for it was told."),
    LogEvent(
        "store.data_lost",
        "ERROR",
        ("position", "dataref", "found"),
        "An event's data is not in claim_check_url any more, or is not what was put there.",
    ),
    LogEvent(
        "store.session_lost",
        "ERROR",
        (),
        "The session with the database is gone, and with it every shard; a new one is opened.",
    ),
    LogEvent("store.session_opened", "INFO", (), "There is a session with the database again."),
    LogEvent("store.unreachable", "WARNING", ("error",), "The database does not answer; it is tried again."),
    LogEvent(
        "node.lost",
        "WARNING",
        ("node", "silent_seconds"),
        "Another node is gone or silent; its session was ended and its shards are free.",
    ),
    LogEvent(
        "node.shards_changed",
        "INFO",
        ("taken", "given_back", "owned"),
        "This node took shards or gave some back.",
    ),
    LogEvent(
        "router.dead_lettered",
        "WARNING",
        ("position", "trigger", "code"),
        "An event could not start its run.",
    ),
    LogEvent(
        "request.failed",
        "ERROR",
        ("path", "error"),
        "A request met a mistake of ours and was answered with 500.",
    ),
    LogEvent(
        "event.unfit",
        "WARNING",
        ("type", "id", "schema", "pointer"),
        "An event's data does not follow its schema, which only warns; the event was let in.",
    ),
    LogEvent("source.started", "INFO", ("source", "kind"), "A source is receiving."),
    LogEvent("source.recovered", "INFO", ("source", "kind"), "A source is receiving again, nothing wrong."),
    LogEvent(
        "source.stopped", "INFO", ("source", "kind"), "A source receives no more: it was stopped or paused."
    ),
    LogEvent("source.paused", "INFO", ("source",), "Somebody paused a source; on every node, over restarts."),
    LogEvent("source.resumed", "INFO", ("source",), "Somebody let a paused source go on."),
    LogEvent(
        "trigger.paused", "INFO", ("trigger",), "Somebody paused a trigger; on every node, over restarts."
    ),
    LogEvent("trigger.resumed", "INFO", ("trigger",), "Somebody let a paused trigger go on."),
    LogEvent(
        "source.polling",
        "INFO",
        ("source", "reason", "seconds"),
        "A folder is listed again and again, because its file system tells nothing of changes.",
    ),
    LogEvent("source.stalled", "WARNING", ("source", "error"), "A source cannot receive and keeps trying."),
    LogEvent("source.degraded", "WARNING", ("source", "error"), "A source works with a workaround."),
    LogEvent(
        "source.gap",
        "ERROR",
        ("source", "reason", "coordinates"),
        "Input was lost outside before it could be read; a gap event says what.",
    ),
    LogEvent(
        "source.refused",
        "WARNING",
        ("source", "code", "coordinates"),
        "Input was refused and kept as a dead letter.",
    ),
    LogEvent(
        "delivery.failed",
        "WARNING",
        ("subscription", "position", "attempt", "error", "delay"),
        "A delivery failed and is tried again.",
    ),
    LogEvent(
        "delivery.dead_lettered", "ERROR", ("subscription", "position", "error"), "A delivery was given up."
    ),
    LogEvent(
        "subscription.disabled",
        "ERROR",
        ("subscription", "error"),
        "A receiver is gone; its subscription stops.",
    ),
    LogEvent(
        "subscription.unusable",
        "ERROR",
        ("subscription", "error"),
        "A subscription made by API is not understood by this Tidemill and is left out.",
    ),
)
