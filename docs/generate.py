"""Writes the tables and diagrams of the reference pages from the code that they describe.

`python docs/generate.py` rewrites every part between `<!-- generated: NAME -->` and `<!-- end -->` of the pages below
this folder. `tests/docs` fails when a page is not what this would write, so that neither can lag behind the other.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import typer
from pydantic import BaseModel

from tidemill.api.application import Application
from tidemill.api.parts import Parts
from tidemill.cli.app import app
from tidemill.clock import SystemClock
from tidemill.errors import REJECTION_STATUS
from tidemill.events import lifecycle, limits
from tidemill.project import admission_form, trigger_file
from tidemill.project.remarks import RULES
from tidemill.runs import state
from tidemill.settings import Settings
from tidemill.sinks import schedule as delivery
from tidemill.sources import state as source_state
from tidemill.sources.contract import SourceState
from tidemill.storage.contract import DeliveryState, DispositionKind
from tidemill.telemetry.metrics import METRICS
from tidemill.telemetry.names import LOG_EVENTS

FOLDER = Path(__file__).parent

_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# ── words that stand in no code ───────────────────────────────────────────────────────────────────────────

#: What refuses with a code that is no `REJECTION_STATUS`, on the API's own routes.
API_CODES: dict[str, tuple[str, str]] = {
    "invalid_request": ("400, 422", "the request is not what the route takes; `problems` says where"),
    "invalid_subscription": ("400", "a subscription is refused; `problems` names every member at fault"),
    "invalid_patch": ("422", "a JSON Patch cannot be applied to the dead letter's event"),
    "invalid_event": ("422", "what a JSON Patch makes of a dead letter is no event, or another one"),
    "invalid_filters": ("422", "`filters` of the stream are no CloudEvents Subscriptions filters"),
    "invalid_replay": ("422", "a replay names triggers that do not exist; `problems` says which"),
    "state_conflict": ("409", "the run's state does not allow it, or the request gave no run"),
    "invalid_form": ("422", "what was filled in does not fit the approval's form; `problems` says where"),
    "not_assigned": ("403", "who decides is none of the approval's assignees"),
    "callback_used": ("409", "the person of the callback URL has decided already"),
    "callback_expired": ("410", "the callback URL has expired"),
    "approval_ended": ("410", "the approval of the callback URL is decided, timed out or cancelled"),
    "not_ready": ("503", "the service is starting or stopping"),
    "request_failed": ("other", "the HTTP library refused the request"),
    "internal_error": ("500", "a mistake of ours; the log has it as `request.failed`"),
}

REJECTIONS: dict[str, str] = {
    "invalid_json": "the body is not JSON",
    "invalid_unicode": "the text is not UTF-8, or holds a lone surrogate",
    "invalid_encoding": "base64, gzip, percent-encoding or a file's name cannot be decoded",
    "duplicate_key": "an object has a member twice",
    "json_too_deep": "nested deeper than 64 levels",
    "number_out_of_range": "an integer beyond 64 bits, or a number that is not finite",
    "invalid_cloudevent": "an attribute breaks a rule of CloudEvents 1.0.2; `attribute` names it",
    "unsupported_specversion": "`specversion` is not `1.0`",
    "reserved_type": "types that begin with `dev.tidemill.` come from Tidemill only",
    "reserved_extension": "`replayid`, `replayof` and `replayto` mark what is told again, and are set here only",
    "unauthorized": "a bearer token is missing or not valid",
    "signature_missing": "a header field of the endpoint's signature is missing",
    "signature_invalid": "no secret of the source made this signature",
    "timestamp_out_of_window": "the signature's timestamp is more than 300 s away",
    "forbidden": "the ingest token on a route that is not intake, or a foreign page without tokens",
    "not_found": "no such route, webhook, event, run, DAG or dead letter",
    "method_not_allowed": "the path does not take the method; `Allow` says which it takes",
    "request_timeout": "the body did not come in `body_timeout_seconds`",
    "id_reused": "the identity (`source`, `id`) is in the log with other content",
    "payload_too_large": "the body is larger than `max_body_bytes`, decoded",
    "batch_too_large": "more than `max_batch_bytes` or `max_batch_events`",
    "unsupported_media_type": "a content type or charset that is not taken",
    "unsupported_content_encoding": "a content coding other than gzip",
    "invalid_parameters": "the DAG's parameters do not fit; `problems` names each",
    "mapping_failed": "a path of a mapping leads nowhere and has no default",
    "digest_mismatch": "a file is not what its checksum or manifest says (dead letters of `files`)",
    "invalid_manifest": "a manifest or checksum file cannot be read as one (dead letters of `files`)",
    "schema_violation": "the data does not follow the schema of its `dataschema` or type; `problems` says where",
    "rate_limited": "more requests than the endpoint's limit; `Retry-After` says when",
    "backlog_full": "the backlog, the write queue or the disk is at its limit; `Retry-After` says when",
    "headers_too_large": "the header block is larger than 64 KiB",
    "store_unavailable": "the commit failed or its answer was lost; send it again",
    "source_paused": "the source is paused (`tidemill sources resume`); `Retry-After` says when to come back",
    "disk_full": "the disk has no room",
}

#: Codes of dead letters that are no rejection: stage and meaning.
DEAD_LETTERS: dict[str, tuple[str, str]] = {
    "undecodable": (
        "postgres",
        "a message of the server's logical replication is not understood; nothing after it is read",
    ),
    "loop_limit": ("routing", "a chain of runs that start each other is longer than `max_hops`"),
    "unknown_dag": ("routing", "a request or tick names a DAG that the project does not define"),
    "mapping_failed": ("routing", "a path of the trigger's `parameters` leads nowhere and has no default"),
    "invalid_parameters": ("routing", "the mapped values do not fit the DAG's parameters"),
    "enrichment_failed": ("routing", "a look-up of `enrich` failed and has no default; `detail` names it"),
    "reduce_failed": ("routing", "the trigger's own `reduce` function raised; `detail` has what"),
    "admission_full": ("routing", "the trigger's admission holds `max_held_events` already"),
    "routing_failed": ("routing", "a mistake of ours; `detail` names it"),
    "attempts_exhausted": ("delivery", "`max_attempts` deliveries failed"),
    "delivery_refused": ("delivery", "the receiver refused it three times, or it cannot be sent at all"),
    "receiver_gone": ("delivery", "the receiver answered 410; its subscription is disabled"),
    "undelivered": (
        "delivery",
        "its subscription was paused, disabled or gone for `undelivered_days`, and the log was to be dropped",
    ),
    "event_missing": ("delivery", "the event is not in the log"),
    "data_lost": (
        "routing, delivery",
        "the event's data was put away to `claim_check_url` and is not there any more, or is not what it was",
    ),
    "id_reused": ("kafka, files, schedule", "the identity is in the log with other content"),
    "schema_violation": (
        "kafka, files",
        "the data does not follow its schema; `coordinates` has the schema and every place",
    ),
}

EVENT_TYPES: dict[str, tuple[bool, str]] = {
    lifecycle.Type.RUN_SUCCEEDED: (True, "a run ended well; `data.result` is what the DAG returned"),
    lifecycle.Type.RUN_FAILED: (True, "a run failed; `data.error` has the reason and the failed tasks"),
    lifecycle.Type.RUN_CANCELLED: (True, "a run was cancelled"),
    lifecycle.Type.SCHEDULE_TICK: (True, "a schedule's tick: starts its DAG"),
    lifecycle.Type.DAG_REQUESTED: (True, "somebody asked for a run: starts the DAG"),
    lifecycle.Type.RETRY_REQUESTED: (True, "somebody asked to retry a run: starts a new one"),
    lifecycle.Type.FILE_LANDED: (
        True,
        "a settled version of a file, from a source without a `type` of its own",
    ),
    lifecycle.Type.SOURCE_GAP: (
        True,
        "a source has missed something outside, or may have; `data.reason` says why, `data.place` where",
    ),
    lifecycle.Type.ROW_INSERTED: (True, "a `postgres` source: a row was inserted"),
    lifecycle.Type.ROW_UPDATED: (True, "a `postgres` source: a row was updated"),
    lifecycle.Type.ROW_DELETED: (True, "a `postgres` source: a row was deleted"),
    lifecycle.Type.TABLE_TRUNCATED: (True, "a `postgres` source: a table was truncated"),
    lifecycle.Type.ROW_READ: (True, "a `table` source: a row was read"),
    lifecycle.Type.SOURCE_TICK: (
        True,
        "a tick of a `schedule` source without a `type` of its own",
    ),
    lifecycle.Type.FILE_SET_LANDED: (
        True,
        "every file of a set is there, from a `files` source with `set` and without a `type` of its own",
    ),
    lifecycle.Type.RUN_QUEUED: (False, "reserved"),
    lifecycle.Type.RUN_STARTED: (False, "reserved"),
    lifecycle.Type.RUN_WAITING: (True, "everything left of a run waits; `data.waits` says for what"),
    lifecycle.Type.TASK_STARTED: (False, "reserved"),
    lifecycle.Type.TASK_SUCCEEDED: (False, "reserved"),
    lifecycle.Type.TASK_FAILED: (False, "reserved"),
    lifecycle.Type.TASK_SKIPPED: (False, "reserved"),
    lifecycle.Type.TASK_RETRYING: (False, "reserved"),
    lifecycle.Type.SUBSCRIPTION_CHANGED: (
        True,
        "a subscription was created, updated or deleted by API; it counts from this event's position on",
    ),
    lifecycle.Type.TREE_COMPLETED: (
        True,
        "everything that an event caused has ended; made where a trigger or subscription may match it",
    ),
    lifecycle.Type.ASSET_UPDATED: (False, "reserved"),
    lifecycle.Type.ASSET_STALE: (False, "reserved"),
    lifecycle.Type.ASSET_CHECK_FAILED: (False, "reserved"),
}

RUN_STATES: dict[state.RunPhase, str] = {
    state.RunPhase.QUEUED: "routed and on disk; waits for `max_active_runs` and `max_live_runs`",
    state.RunPhase.RUNNING: "begun; its tasks start as soon as they can",
    state.RunPhase.WAITING: "everything that is left waits for a time, an event or people; nothing of it is in memory",
    state.RunPhase.SUCCEEDED: "every task succeeded",
    state.RunPhase.FAILED: "a task failed for good, or the run could not go on (`data.error.reason`)",
    state.RunPhase.CANCELLED: "somebody cancelled it, and no task failed",
}

TASK_STATES: dict[state.TaskState, str] = {
    state.TaskState.PENDING: "an upstream task has not succeeded yet",
    state.TaskState.READY: "may start; waits for a slot",
    state.TaskState.RUNNING: "an attempt was begun",
    state.TaskState.RETRYING: "the last attempt failed; the next one is due later",
    state.TaskState.WAITING: "waits for a time, an event or people; a mapped task: for its task runs",
    state.TaskState.SUCCEEDED: "returned; its result is recorded and it is never called again",
    state.TaskState.FAILED: "the last attempt failed and there is no further one",
    state.TaskState.CANCELLED: "the run was cancelled first",
    state.TaskState.SKIPPED: "reserved for branches",
    state.TaskState.UPSTREAM_FAILED: "an upstream task failed, so it can never start",
}

SOURCE_STATES: dict[SourceState, str] = {
    SourceState.STARTING: "begun, and has not received yet",
    SourceState.LIVE: "receiving, nothing wrong",
    SourceState.DEGRADED: "receiving with a workaround, or not everything; `error` says why",
    SourceState.STALLED: "not receiving; it keeps trying by itself, `error` says why",
    SourceState.PAUSED: "somebody paused it (`tidemill sources resume`)",
    SourceState.STOPPED: "not running: the service stops, does not run, or has no use for it",
}

DISPOSITIONS: dict[DispositionKind, str] = {
    DispositionKind.RUN: "the trigger started a run; `run` is its id",
    DispositionKind.DEAD_LETTERED: "it could not; `detail` is the dead letter's id",
    DispositionKind.PAUSED: "the trigger is paused and started nothing",
    DispositionKind.DUPLICATE_OF: "its idempotency key was seen before; `detail` has the position of the first event",
    DispositionKind.DROPPED_BY_LIMIT: "it was too much; `detail` is the limit: `rate_limit` or `concurrency`",
    DispositionKind.NOT_JOINED: "no part of the trigger's join waits for it",
    DispositionKind.JOINED_INTO: "the join started one run with several events; `run` is its id",
    DispositionKind.DEBOUNCED_INTO: "a later event took its place, or it that of later ones; `run` is the run of all",
    DispositionKind.BATCHED_INTO: "it is one of a batch; `run` is the batch's run",
    DispositionKind.COALESCED_INTO: "it waited for a slot with others; `run` is the run of all",
    DispositionKind.EXPIRED: "the events that it was to be joined with did not come in time",
    DispositionKind.CANCELLED: "it waited and was cancelled; `detail` says by what",
    DispositionKind.LOOP_AVOIDED: "runs of the trigger led to it, as often as its `loops` allows",
}

DELIVERY_STATES: dict[DeliveryState, str] = {
    DeliveryState.PENDING: "not accepted yet; tried again when it is due",
    DeliveryState.DELIVERED: "the receiver accepted it",
    DeliveryState.DEAD_LETTERED: "given up; `tidemill dlq list --stage delivery` has it",
    DeliveryState.CANCELLED: "its subscription was deleted before it was delivered",
}

#: The run's own transitions are decided by records, not by a table (`runs/state.py`).
_RUN_ARROWS = (
    (None, state.RunPhase.QUEUED, "routed"),
    (state.RunPhase.QUEUED, state.RunPhase.RUNNING, "its turn"),
    (state.RunPhase.QUEUED, state.RunPhase.CANCELLED, "cancel"),
    (state.RunPhase.RUNNING, state.RunPhase.SUCCEEDED, "every task succeeded"),
    (state.RunPhase.RUNNING, state.RunPhase.FAILED, "a task failed, or it cannot go on"),
    (state.RunPhase.RUNNING, state.RunPhase.CANCELLED, "cancel"),
)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────


def settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{field.default}`"
        rows.append(
            (f"`{name}`", _unit(name), default, f"`TIDEMILL_{name.upper()}`", field.description or "")
        )
    return _table(("setting", "unit", "default", "variable", "meaning"), rows)


def metrics() -> str:
    rows = [
        (f"`{name}`", "counter" if name.endswith("_total") else "gauge", _codes(labels) or "none", meaning)
        for name, (labels, meaning) in METRICS.items()
    ]
    return _table(("metric", "kind", "labels", "meaning"), rows)


def log_events() -> str:
    rows = [(f"`{one.name}`", one.level, _codes(one.fields), one.meaning) for one in LOG_EVENTS]
    return _table(("event", "level", "fields", "meaning"), rows)


def run_states() -> str:
    rows = [(f"`{one}`", _yes(one in state.FINAL_RUN_STATES), RUN_STATES[one]) for one in state.RunPhase]
    return _table(("run state", "final", "meaning"), rows)


def task_states() -> str:
    rows = [
        (
            f"`{one}`",
            _yes(one in state.FINAL_TASK_STATES),
            _codes(sorted(state.TASK_TRANSITIONS[one])),
            TASK_STATES[one],
        )
        for one in state.TaskState
    ]
    return _table(("task state", "final", "may become", "meaning"), rows)


def source_states() -> str:
    rows = [
        (f"`{one}`", _codes(sorted(source_state.TRANSITIONS[one])), SOURCE_STATES[one]) for one in SourceState
    ]
    return _table(("source state", "may become", "meaning"), rows)


def run_diagram() -> str:
    lines = [f"    {before or '[*]'} --> {after}: {why}" for before, after, why in _RUN_ARROWS]
    reached = {after for _, after, _ in _RUN_ARROWS}
    lines += [
        f"    {one} --> [*]" for one in state.RunPhase if one in state.FINAL_RUN_STATES and one in reached
    ]
    return _diagram(lines)


def task_diagram() -> str:
    lines = [f"    [*] --> {state.TaskState.PENDING}"]
    for before in state.TaskState:
        lines += [
            f"    {before} --> {after}"
            for after in state.TaskState
            if after in state.TASK_TRANSITIONS[before]
        ]
    lines += [f"    {one} --> [*]" for one in state.TaskState if one in state.FINAL_TASK_STATES]
    return _diagram(lines)


def dispositions() -> str:
    return _table(("disposition", "meaning"), [(f"`{one}`", DISPOSITIONS[one]) for one in DispositionKind])


def delivery_states() -> str:
    return _table(
        ("delivery state", "meaning"), [(f"`{one}`", DELIVERY_STATES[one]) for one in DeliveryState]
    )


def delivery_delays() -> str:
    rows = [(str(place), _seconds(delay)) for place, delay in enumerate(delivery.DELAYS, 1)]
    return _table(("after failed attempt", "next attempt in, give or take 20 %"), rows)


def rejections() -> str:
    rows = [(f"`{code}`", str(status), REJECTIONS[code]) for code, status in REJECTION_STATUS.items()]
    rows += [(f"`{code}`", status, meaning) for code, (status, meaning) in API_CODES.items()]
    return _table(("code", "status", "meaning"), rows)


def dead_letters() -> str:
    rows = [(f"`{code}`", stage, meaning) for code, (stage, meaning) in DEAD_LETTERS.items()]
    return _table(("code", "stage", "meaning"), rows)


def validation_rules() -> str:
    rows = [(f"`{rule}`", text.severity.value, text.summary) for rule, text in RULES.items()]
    return _table(("rule", "severity", "what is wrong"), rows)


def event_types() -> str:
    rows = [
        (f"`{name}`", "yes" if given else "no", meaning) for name, (given, meaning) in EVENT_TYPES.items()
    ]
    return _table(
        ("type", "emitted today", "meaning"), [(str(a).replace("Type.", ""), b, c) for a, b, c in rows]
    )


def event_limits() -> str:
    rows = [
        ("nesting of arrays and objects in `data`", f"{limits.MAX_DEPTH} levels"),
        ("value of one attribute", f"{limits.MAX_ATTRIBUTE_BYTES:,} bytes of UTF-8"),
        ("extension attributes", str(limits.MAX_EXTENSIONS)),
        ("name of an extension attribute", f"{limits.MAX_EXTENSION_NAME} characters"),
        ("block of header fields", f"{limits.MAX_HEADER_BYTES:,} bytes"),
        ("integers in `data`", f"{limits.MIN_INTEGER} to {limits.MAX_INTEGER}"),
        (
            "integers in extension attributes",
            f"{limits.MIN_EXTENSION_INTEGER} to {limits.MAX_EXTENSION_INTEGER}",
        ),
    ]
    return _table(("what", "limit, inclusive"), rows)


def commands() -> str:
    return "\n".join(_command(typer.main.get_command(app), ("tidemill",))).strip()


def routes() -> str:
    rows = []
    for path, operations in _openapi()["paths"].items():
        for method, operation in operations.items():
            names = [one["name"] for one in operation.get("parameters", ()) if one["in"] != "path"]
            rows.append((f"`{method.upper()} {path}`", operation["summary"], _codes(names) or ""))
    return _table(("route", "what it does", "query and headers"), rows)


def trigger_fields() -> str:
    lines: list[str] = []
    forms: Sequence[tuple[str, type[BaseModel]]] = (
        ("`sources[]`", trigger_file.SourceEntry),
        ("`sources[].webhook`", trigger_file.WebhookForm),
        ("`sources[].webhook.hmac`", trigger_file.HmacForm),
        ("`sources[].webhook.limits`", trigger_file.LimitsForm),
        ("`sources[].webhook.answer`", trigger_file.AnswerForm),
        ("`sources[].files`", trigger_file.FilesForm),
        ("`sources[].files.set`", trigger_file.FileSetForm),
        ("`sources[].files.archive`", trigger_file.ArchiveForm),
        ("`sources[].kafka`", trigger_file.KafkaForm),
        ("`sources[].schedule`", trigger_file.ScheduleForm),
        ("`sources[].plugin`", trigger_file.PluginForm),
        ("`triggers[]`", trigger_file.TriggerEntry),
        ("`triggers[].examples`", trigger_file.Examples),
        ("`triggers[].admission`", admission_form.AdmissionForm),
        ("`triggers[].admission.idempotency`", admission_form.IdempotencyForm),
        ("`triggers[].admission.rate_limit`", admission_form.RateLimitForm),
        ("`triggers[].admission.join`", admission_form.JoinForm),
        ("`triggers[].admission.debounce`", admission_form.DebounceForm),
        ("`triggers[].admission.batch`", admission_form.BatchForm),
        ("`triggers[].admission.throttle`", admission_form.ThrottleForm),
        ("`triggers[].admission.concurrency`", admission_form.ConcurrencyForm),
        ("`triggers[].admission.cancel_on`", admission_form.CancelOnForm),
        ("`enrich` of a trigger or a derivation", trigger_file.EnrichmentForm),
        ("`derive[]`", trigger_file.DeriveEntry),
        ("`subscriptions[]`", trigger_file.SubscriptionEntry),
        ("`subscriptions[].webhook`", trigger_file.WebhookSinkForm),
        ("`subscriptions[].kafka`", trigger_file.KafkaSinkForm),
        ("a secret", trigger_file.SecretForm),
    )
    for title, form in forms:
        lines += [f"### {title}", "", (form.__doc__ or "").strip(), "", _form(form), ""]
    return "\n".join(lines).strip()


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "log-events": log_events,
    "run-states": run_states,
    "task-states": task_states,
    "source-states": source_states,
    "run-diagram": run_diagram,
    "task-diagram": task_diagram,
    "dispositions": dispositions,
    "delivery-states": delivery_states,
    "delivery-delays": delivery_delays,
    "rejections": rejections,
    "dead-letters": dead_letters,
    "event-types": event_types,
    "event-limits": event_limits,
    "commands": commands,
    "routes": routes,
    "trigger-fields": trigger_fields,
    "validation-rules": validation_rules,
}


def rendered(text: str) -> str:
    """A page with every generated part as it is today; `KeyError` for a part that does not exist."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found['name']]()}\n{found[3]}", text)


def main() -> None:
    """Rewrite every page."""
    for page in sorted(FOLDER.rglob("*.md")):
        before = page.read_text("utf-8")
        after = rendered(before)
        if after != before:
            page.write_text(after, "utf-8")
            sys.stdout.write(f"{page.relative_to(FOLDER)}\n")


# ── shapes ────────────────────────────────────────────────────────────────────────────────────────────────


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def _diagram(lines: Sequence[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else ""


def _unit(name: str) -> str:
    return next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), "")


def _seconds(seconds: int) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _command(command: Any, path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    inner = getattr(command, "commands", None)
    if inner is None:
        lines += [f"### `{' '.join(path)}`", "", " ".join((command.help or "").split()), ""]
        rows = [_parameter(one) for one in command.params if one.name != "help"]
        if rows:
            lines += [_table(("argument or option", "default", "variable", "meaning"), rows), ""]
        return lines
    for name, one in inner.items():
        lines += _command(one, (*path, name))
    return lines


def _parameter(parameter: Any) -> tuple[str, str, str, str]:
    names = (
        [parameter.metavar or parameter.name.upper()]
        if parameter.param_type_name == "argument"
        else parameter.opts
    )
    default = parameter.default
    shown = "" if default in (None, False) else f"`{getattr(default, 'value', default)}`"
    variable = f"`{parameter.envvar}`" if isinstance(parameter.envvar, str) else ""
    return _codes(names), shown, variable, parameter.help or ""


def _openapi() -> dict[str, Any]:
    """The description of the API; nothing of what an application works with is needed to describe it."""
    parts = SimpleNamespace(settings=Settings(), clock=SystemClock())
    return Application(cast("Parts", parts)).openapi()


def _form(form: type[BaseModel]) -> str:
    schema = form.model_json_schema()
    required = set(schema.get("required", ()))
    rows = []
    for name, field in form.model_fields.items():
        written = schema["properties"][name]
        default = "required" if name in required else _default(written.get("default", field.default))
        rows.append((f"`{name}`", _kind(written), default, str(written.get("description", ""))))
    return _table(("field", "value", "default", "meaning"), rows)


def _default(value: object) -> str:
    if value is None or isinstance(value, BaseModel | dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(written: dict[str, Any]) -> str:
    if "enum" in written:
        return " or ".join(f"`{one}`" for one in written["enum"])
    if "$ref" in written:
        return str(written["$ref"]).rpartition("/")[2].removesuffix("Form").lower()
    if "anyOf" in written:
        kinds = [_kind(one) for one in written["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    match written.get("type"):
        case "array":
            return f"list of {_kind(written.get('items', {}))}"
        case "string" | "number":
            return "duration" if "pattern" in written and "ms|s" in written["pattern"] else "text"
        case "object":
            return "mapping"
        case "boolean":
            return "true or false"
        case "integer":
            return "whole number"
    return "template"


if __name__ == "__main__":
    main()
