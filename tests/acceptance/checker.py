"""The independent checker: what must be true of a service that was killed, restarted and left to settle.

`check` says everything that is not, as (code, detail). It reads the evidence only (see `evidence`) and imports
nothing of the package under test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.acceptance.admitted import check_admission
from tests.acceptance.evidence import Evidence, Line, Logged, Run
from tests.acceptance.fold import FINAL, Folded, fold
from tests.acceptance.told_again import check_replays
from tests.acceptance.violations import Found, Violation, due_pairs, fits, is_told_again, sent

__all__ = ["Violation", "check"]

#: Clocks of two processes on one machine agree to less than this, in microseconds.
CLOCK_US = 5_000
#: Records of one row share the time of its first: the last may have been decided while the commit before it was made.
ROW_US = 1_000_000
#: A process that was frozen finds out that its work is another one's within this time after it goes on.
THAW_US = 1_000_000
#: A signature's time may differ from the time of reception by this much, in seconds.
SIGNATURE_SECONDS = 300
COMPLETION_TYPES = {f"dev.tidemill.run.{state}.v1": state for state in FINAL}


def check(evidence: Evidence, *, secret: str) -> list[Violation]:
    """Every violation in the evidence of a service that has settled."""
    folds = {run.run_id: _fold(evidence, run) for run in evidence.runs}
    return [
        *_check_log(evidence),
        *_check_acknowledged(evidence),
        *_check_files(evidence),
        *_check_kafka(evidence),
        *_check_routing(evidence),
        *check_admission(evidence),
        *check_replays(evidence),
        *_check_runs(evidence, folds),
        *_check_effects(evidence, folds),
        *_check_completions(evidence, folds),
        *_check_deliveries(evidence),
        *_check_received(evidence, secret),
        *_check_stream(evidence),
        *_check_balance(evidence),
    ]


def _fold(evidence: Evidence, run: Run) -> Folded:
    return fold(evidence.expected["dags"].get(run.dag, {}), evidence.histories.get(run.run_id, []))


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────


def _check_log(evidence: Evidence) -> Found:
    for place, event in enumerate(evidence.events, 1):
        if event.position != place:
            yield Violation("position_gap", f"event {place} stands at position {event.position}")
            break
    for identity, times in Counter(event.identity for event in evidence.events).items():
        if times > 1:
            yield Violation("event_doubled", f"{identity} is in the log {times} times")
    for event in evidence.events:
        if event.body["type"] != event.type or event.body["source"] != event.source:
            yield Violation("event_inconsistent", f"columns and body differ at {event.position}")


def _check_acknowledged(evidence: Evidence) -> Found:
    """What was answered with 2xx is in the log, where the answer said; nothing else from there is."""
    log = _by_identity(evidence)
    for line in sent(evidence, "ack"):
        event = log.get((line["source"], line["id"]))
        if event is None:
            yield Violation("acknowledged_lost", f"{line['id']} was acknowledged")
        elif event.position != line["position"]:
            yield Violation(
                "answer_wrong", f"{line['id']}: {line['position']} was answered, is {event.position}"
            )
        elif event.body.get("data") != line["data"]:
            yield Violation(
                "event_changed", f"{line['id']}: {line['data']} was sent, is {event.body.get('data')}"
            )
    tried = {(line["source"], line["id"]) for line in evidence.sent if line["what"] in ("tried", "record")}
    ours = evidence.expected["own_sources"]
    for event in evidence.events:
        if event.source.startswith(ours) or _is_record(event) or is_told_again(event):
            continue
        if event.identity not in tried:
            yield Violation("event_unexpected", f"nobody sent {event.identity}")


def _check_files(evidence: Evidence) -> Found:
    announced: dict[str, list[Logged]] = defaultdict(list)
    for event in evidence.events:
        if event.source == evidence.expected["folder"] and not is_told_again(event):
            announced[event.body["data"]["path"]].append(event)
    ledger = Counter(evidence.files)
    for line in sent(evidence, "file"):
        events = announced.pop(line["path"], [])
        if not events:
            yield Violation("file_lost", line["path"])
        elif len(events) > 1 or ledger[line["path"]] != 1:
            yield Violation(
                "file_doubled", f"{line['path']}: {len(events)} events, {ledger[line['path']]} entries"
            )
        elif (events[0].body["data"]["digest"], events[0].body["data"]["size"]) != (
            line["digest"],
            line["size"],
        ):
            yield Violation("file_incomplete", f"{line['path']} was announced before it was complete")
    for path in announced:
        yield Violation("file_unexpected", path)


def _check_kafka(evidence: Evidence) -> Found:
    """Each acknowledged record is one event or one dead letter, in the order of its partition."""
    log = _by_identity(evidence)
    letters = Counter(
        (where["topic"], where["partition"], where["offset"])
        for stage, _, where, _ in evidence.dead_letters
        if stage == "kafka"
    )
    by_place = {event.id: event for event in evidence.events if _is_record(event)}
    newest: dict[int, int] = {}
    known: set[str] = set()
    lines = sorted(sent(evidence, "record"), key=lambda line: (line["partition"], line["offset"]))
    for line in lines:
        place = (line["topic"], line["partition"], line["offset"])
        name = "/".join(map(str, place))
        known.add(name)
        event = by_place.get(name) if line["form"] == "plain" else log.get((line["source"], line["id"]))
        expected = (0, 1) if line["form"] == "broken" else (1, 0)
        if (int(event is not None), letters[place]) != expected:
            code = "record_lost" if event is None and not letters[place] else "record_doubled"
            yield Violation(code, f"{name} ({line['form']}): event {event}, {letters[place]} dead letters")
        elif event is not None:
            if event.position < newest.get(line["partition"], 0):
                yield Violation("record_order", f"{name} stands before the record that came before it")
            newest[line["partition"]] = event.position
    for name in by_place.keys() - known:
        yield Violation("event_unexpected", f"nobody produced {name}")
    for place in letters.keys() - {(line["topic"], line["partition"], line["offset"]) for line in lines}:
        yield Violation("dead_letter_unexpected", f"{place}")


# ── routing and runs ──────────────────────────────────────────────────────────────────────────────────────


def _check_routing(evidence: Evidence) -> Found:
    """Each (event, matching trigger) has one disposition, or waits in one place; nothing else has."""
    triggers: Mapping[str, Any] = evidence.expected["triggers"]
    due = due_pairs(evidence)
    by_run = Counter(run.run_id for run in evidence.runs)
    runs = {run.run_id: run for run in evidence.runs}
    times = Counter((one.position, one.trigger) for one in evidence.dispositions)
    times.update((position, trigger) for position, trigger, _ in evidence.held)
    for pair in sorted(due - times.keys()):
        yield Violation("disposition_missing", f"{pair}")
    for pair in sorted(times.keys() - due):
        yield Violation("disposition_unexpected", f"{pair}")
    for pair, count in times.items():
        if count > 1:
            yield Violation("disposition_doubled", f"{pair} has {count}")
    for position, trigger, kind, run_id, _ in evidence.dispositions:
        run = runs.get(run_id or "")
        expected = triggers.get(trigger, {})
        if kind != "run":
            if "admission" not in expected:
                yield Violation("disposition_unexpected", f"{(position, trigger)} is {kind}")
        elif run is None:
            yield Violation("run_missing", f"{run_id} for {(position, trigger)}")
        elif (run.position, run.trigger, run.dag) != (position, trigger, expected.get("dag")):
            yield Violation("run_inconsistent", f"{run_id} is {run}")
    for identity, count in Counter((r.trigger, r.event_source, r.event_id) for r in evidence.runs).items():
        if count > 1:
            yield Violation("run_doubled", f"{count} runs for {identity}")
    accounted = {one.run_id for one in evidence.dispositions if one.kind == "run"}
    for run_id, count in by_run.items():
        if count > 1 or run_id not in accounted:
            yield Violation("run_unaccounted", f"{run_id} has no disposition of its own")


def _check_runs(evidence: Evidence, folds: Mapping[str, Folded]) -> Found:
    cancelled = {line["run"] for line in sent(evidence, "cancel")}
    for run in evidence.runs:
        folded = folds[run.run_id]
        for problem in folded.problems:
            yield Violation("history_invalid", f"{run.run_id} ({run.dag}): {problem}")
        shown = (run.state, run.started_at, run.ended_at)
        if shown != (folded.state, folded.started_at, folded.ended_at):
            yield Violation("fold_differs", f"{run.run_id}: summary {shown}, history says {folded}")
        if run.state not in FINAL:
            yield Violation("run_not_ended", f"{run.run_id} ({run.dag}) is {run.state}")
        if run.run_id in cancelled and run.state != "cancelled":
            yield Violation("cancel_lost", f"{run.run_id} was to be cancelled and is {run.state}")


def _check_effects(evidence: Evidence, folds: Mapping[str, Folded]) -> Found:
    """What the tasks saw: nothing runs before its record or after its success, and no attempt runs twice."""
    lines: dict[tuple[str, str], list[tuple[int, Line]]] = defaultdict(list)
    for place, line in enumerate(evidence.effects):
        lines[line["run"], line["task"]].append((place, line))
    dags = {run.run_id: evidence.expected["dags"].get(run.dag, {}) for run in evidence.runs}
    frozen = sent(evidence, "frozen")
    for (run_id, task), executions in lines.items():
        if run_id not in folds:
            yield Violation("executed_without_record", f"{run_id}/{task}: there is no such run")
            continue
        in_time = [line for _, line in executions if not _is_thawed(folds[run_id], line, frozen)]
        yield from _check_executions(folds[run_id], run_id, task, in_time)
        for above in dags[run_id].get(task, ()):
            before = [
                place for place, line in lines.get((run_id, above), []) if _is_success(folds[run_id], line)
            ]
            if not before or before[0] > executions[0][0]:
                yield Violation("dependency_order", f"{run_id}: {task} ran before {above}")
    for run_id, folded in folds.items():
        for task, (attempt, _) in folded.succeeded.items():
            if attempt not in [line["attempt"] for _, line in lines.get((run_id, task), [])]:
                yield Violation("success_without_execution", f"{run_id}/{task} attempt {attempt}")


def _check_executions(folded: Folded, run_id: str, task: str, executions: Sequence[Line]) -> Found:
    attempts = [line["attempt"] for line in executions]
    if len(set(attempts)) < len(attempts):
        yield Violation("attempt_executed_twice", f"{run_id}/{task}: attempts {attempts}")
    elif attempts != sorted(attempts):
        yield Violation("attempt_order", f"{run_id}/{task}: attempts {attempts}")
    succeeded = folded.succeeded.get(task)
    for line in executions:
        attempt, at = line["attempt"], line["at"]
        allowed_at = folded.started.get((task, attempt))
        if allowed_at is None or at < allowed_at - CLOCK_US:
            yield Violation("executed_without_record", f"{run_id}/{task} attempt {attempt} at {at}")
        if succeeded is not None and _is_after(attempt, at, *succeeded):
            yield Violation("executed_after_success", f"{run_id}/{task}: {line}, succeeded {succeeded}")
        if at < folded.due.get((task, attempt), 0) - CLOCK_US:
            yield Violation("retried_early", f"{run_id}/{task} attempt {attempt} at {at}")
        if line["key"] != f"{run_id}/{task}":
            yield Violation("idempotency_key_changed", f"{run_id}/{task}: {line['key']}")


def _is_thawed(folded: Folded, line: Line, frozen: Sequence[Line]) -> bool:
    """Whether an attempt was recorded before its process was frozen, and began as soon as that went on.

    Nobody can know that he was frozen between the two: such an attempt runs once more than it counts.
    """
    started = folded.started.get((line["task"], line["attempt"]))
    return started is not None and any(
        line["pid"] == one["pid"]
        and started <= one["at"]
        and one["until"] <= line["at"] <= one["until"] + THAW_US
        for one in frozen
    )


def _is_after(attempt: int, at: int, succeeded: int, succeeded_at: int) -> bool:
    """Whether an execution came after attempt `succeeded` had been recorded as the one that counts."""
    return attempt > succeeded or at > succeeded_at + (ROW_US if attempt == succeeded else CLOCK_US)


def _is_success(folded: Folded, line: Line) -> bool:
    return bool(folded.succeeded.get(line["task"], (0, 0))[0] == line["attempt"])


def _check_completions(evidence: Evidence, folds: Mapping[str, Folded]) -> Found:
    """Exactly one per run, true to its end, carrying on what its event carried."""
    found: dict[str, list[Logged]] = defaultdict(list)
    for event in evidence.events:
        if event.type in COMPLETION_TYPES and not is_told_again(event):
            found[str(event.body.get("subject"))].append(event)
    causes = {event.position: event for event in evidence.events}
    for run in evidence.runs:
        events = found.pop(run.run_id, [])
        if not events:
            yield Violation("completion_missing", f"{run.run_id} ({run.dag}) is {run.state}")
            continue
        if len(events) > 1:
            yield Violation("completion_doubled", f"{run.run_id}: {[event.id for event in events]}")
        body, data = events[0].body, events[0].body["data"]
        output = folds[run.run_id].results.get(evidence.expected["outputs"].get(run.dag, ""))
        cause = causes.get(run.position)
        true = {
            "type": (COMPLETION_TYPES[events[0].type], run.state),
            "source": (events[0].source, f"/tidemill/dags/{run.dag}"),
            "state": (data["state"], run.state),
            "event": (data["event"], {"source": run.event_source, "id": run.event_id}),
            "cause": (cause and cause.identity, (run.event_source, run.event_id)),
            "causation": (body.get("causationid"), run.event_id),
            "hops": (body.get("hopcount"), int(cause.body.get("hopcount", 0)) + 1 if cause else None),
            "correlation": (
                body.get("correlationid"),
                cause and (cause.body.get("correlationid") or cause.id),
            ),
            "result": (data["result"], output if run.state == "succeeded" else None),
            "of": (output and output["of"], run.event_id) if run.state == "succeeded" else (None, None),
        }
        for name, (is_so, should_be) in true.items():
            if is_so != should_be:
                detail = f"{run.run_id}: {name} is {is_so!r}, should be {should_be!r}"
                yield Violation("completion_inconsistent", detail)
    for run_id in found:
        yield Violation("completion_unexpected", f"there is no run {run_id}")


# ── to the outside ────────────────────────────────────────────────────────────────────────────────────────


def _check_deliveries(evidence: Evidence) -> Found:
    """Each event that a subscription wants was accepted by the receiver, and is marked so."""
    rows = {(name, position): state for name, position, state in evidence.deliveries}
    log = {event.position: event for event in evidence.events}
    accepted: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for place, line in enumerate(evidence.topic or ()):
        accepted["topic"].setdefault((line["source"], line["id"]), place)
    for place, line in enumerate(evidence.received):
        if 200 <= line["status"] < 300:
            accepted[line["path"]].setdefault(_identity_of(line), place)
    for name, wanted in _subscriptions(evidence).items():
        places = []
        for event in evidence.events:
            if not _is_wanted(event, wanted):
                continue
            taken, state = accepted[wanted["path"]].get(event.identity), rows.get((name, event.position))
            if taken is None or state != "delivered":
                yield Violation("delivery_missing", f"{name}: {event.id}, received at {taken}, {state}")
            else:
                places.append(taken)
        for position in [position for subscription, position in rows if subscription == name]:
            if position not in log or not _is_wanted(log[position], wanted):
                yield Violation("delivery_unexpected", f"{name} has a delivery of {position}")
        if wanted["ordered"] and places != sorted(places):
            yield Violation("delivery_order", f"{name}: {places}")


def _check_received(evidence: Evidence, secret: str) -> Found:
    """What the receiver got: events of the log only, each under one id of its own, signed."""
    log = _by_identity(evidence)
    wanted = {each["path"]: each for each in _subscriptions(evidence).values()}
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in evidence.received:
        identity = _identity_of(line)
        event = log.get(identity)
        if event is None or not _is_wanted(event, wanted[line["path"]]):
            yield Violation("delivery_unexpected", f"{line['path']} got {identity}")
        ids[identity].add(line["headers"].get("webhook-id", ""))
        if not _is_signed(line, secret):
            yield Violation("signature_invalid", f"{identity}: {line['headers']}")
    for line in evidence.topic or ():
        event = log.get((line["source"], line["id"]))
        if event is None or not _is_wanted(event, wanted["topic"]):
            yield Violation("delivery_unexpected", f"the topic got {line}")
    for identity, names in ids.items():
        if len(names) > 1 or "" in names:
            yield Violation("webhook_id_changed", f"{identity}: {sorted(names)}")
    for name, count in Counter(name for names in ids.values() for name in names).items():
        if count > 1:
            yield Violation("webhook_id_shared", f"{name} stands for {count} events")


def _is_signed(line: Line, secret: str) -> bool:
    headers, body = line["headers"], base64.b64decode(line["body"])
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isdecimal() or abs(int(stamp) - line["at"] / 1e6) > SIGNATURE_SECONDS:
        return False
    text = b".".join((headers.get("webhook-id", "").encode(), stamp.encode(), body))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = b"v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest())
    return any(
        hmac.compare_digest(expected, each.encode())
        for each in headers.get("webhook-signature", "").split(" ")
    )


def _check_stream(evidence: Evidence) -> Found:
    """The reader saw the whole log: each position once, in order, as it is."""
    log = {event.position: event for event in evidence.events}
    seen = [line["position"] for line in evidence.stream]
    for position, times in Counter(seen).items():
        if times > 1:
            yield Violation("stream_doubled", f"{position} was seen {times} times")
    if seen != sorted(seen):
        yield Violation("stream_order", "positions do not rise")
    for position in sorted(log.keys() - set(seen)):
        yield Violation("stream_gap", f"{position} was not seen")
    for line in evidence.stream:
        event = log.get(line["position"])
        if event is None or (event.type, event.source, event.id) != (
            line["type"],
            line["source"],
            line["id"],
        ):
            yield Violation("stream_unexpected", f"{line} is {event} in the log")


def _check_balance(evidence: Evidence) -> Found:
    runs, ended = len(evidence.runs), sum(run.state in FINAL for run in evidence.runs)
    completions = sum(
        event.type in COMPLETION_TYPES and not is_told_again(event) for event in evidence.events
    )
    dispositions = sum(one.kind == "run" for one in evidence.dispositions)
    if len({runs, ended, completions, dispositions}) > 1:
        counts = f"{dispositions} dispositions, {runs} runs, {ended} ended, {completions} completions"
        yield Violation("unbalanced", counts)
    unrouted = [event for event in evidence.events if event.position > evidence.router_cursor]
    needed: Callable[[Logged], bool] = lambda event: any(  # noqa: E731
        fits(event, each)
        for each in (*evidence.expected["triggers"].values(), *_subscriptions(evidence).values())
    )
    if any(map(needed, unrouted)):
        yield Violation("unbalanced", f"{len(unrouted)} events were not routed")
    if evidence.open_requests:
        yield Violation("unbalanced", f"{evidence.open_requests} requests were not answered")
    if any(stage != "kafka" for stage, _, _, _ in evidence.dead_letters):
        yield Violation(
            "dead_letter_unexpected", f"{[each for each in evidence.dead_letters if each[0] != 'kafka']}"
        )


# ── reading the evidence ──────────────────────────────────────────────────────────────────────────────────


def _by_identity(evidence: Evidence) -> dict[tuple[str, str], Logged]:
    return {event.identity: event for event in evidence.events}


def _subscriptions(evidence: Evidence) -> dict[str, Mapping[str, Any]]:
    """Those whose receiver is there."""
    wanted: Mapping[str, Mapping[str, Any]] = evidence.expected["subscriptions"]
    return {
        name: each for name, each in wanted.items() if each["path"] != "topic" or evidence.topic is not None
    }


def _is_wanted(event: Logged, subscription: Mapping[str, Any]) -> bool:
    """Subscribers are told the first time only."""
    return fits(event, subscription) and not is_told_again(event)


def _is_record(event: Logged) -> bool:
    return event.source.startswith("/kafka/") and not is_told_again(event)


def _identity_of(line: Line) -> tuple[str, str]:
    """(source, id) of a received event, whichever content mode it came in."""
    headers = line["headers"]
    if "ce-id" in headers:
        return headers["ce-source"], headers["ce-id"]
    event = json.loads(base64.b64decode(line["body"]))
    return event["source"], event["id"]
