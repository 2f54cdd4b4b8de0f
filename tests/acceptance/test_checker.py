"""The checker itself: silent on good evidence, and loud on every kind of damage done to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.doctor import Case, Lines
from tests.acceptance.evidence import read_lines
from tests.acceptance.scene import staged
from tests.acceptance.senders import post_batch

pytestmark = pytest.mark.acceptance

_RUN = "SELECT run_id FROM runs WHERE dag = 'orders' AND state = 'succeeded'"
#: Of one key and one time: they are debounced, joined, and the first two are duplicates.
_CHANGES = [
    {
        "specversion": "1.0",
        "id": f"together-{place}",
        "source": "/acceptance/events",
        "type": "com.example.change",
        "data": {"n": max(place, 1), "k": 1, "half": place % 2},
    }
    for place in range(6)
]
_SUCCEEDED = "dev.tidemill.run.succeeded.v1"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence of a service that was never killed."""
    folder = tmp_path_factory.mktemp("good")

    async def gather() -> None:
        async with staged(folder) as scene:
            scene.receiver.is_moody = False
            await scene.server.start()
            await post_batch(scene.client, scene.sent, _CHANGES)
            load = scene.send(pause=0.03)
            await asyncio.sleep(1.5)
            await load.finish()
            await scene.settle()
            assert await scene.stop_and_check() == []

    asyncio.run(gather())
    return folder


@pytest.fixture
def case(good: Path, tmp_path: Path) -> Case:
    """A copy to be damaged, with some Kafka records in it."""
    case = Case(good, tmp_path / "case")
    for offset, form in enumerate(("plain", "event", "broken", "plain")):
        case.produce(offset, form)
    return case


def _first(where: Callable[[Any], bool], change: Callable[[Any], list[Any]]) -> Callable[[Lines], Lines]:
    """Replaces the first line that `where` holds for by what `change` makes of it."""

    def rewrite(lines: Lines) -> Lines:
        place = next(place for place, line in enumerate(lines) if where(line))
        return [*lines[:place], *change(lines[place]), *lines[place + 1 :]]

    return rewrite


def _any(_line: Any) -> bool:
    return True


def _task(name: str) -> Callable[[Any], bool]:
    return lambda line: bool(line["task"] == name)


def _lose_an_event(case: Case) -> None:
    case.change(
        "DELETE FROM events WHERE position = (SELECT min(position) FROM events WHERE type = 'com.example.order')"
    )


def _double_an_event(case: Case) -> None:
    body = json.loads(case.ask("SELECT body FROM events WHERE type = 'com.example.order'"))
    case.log(**body)


def _change_an_event(case: Case) -> None:
    case.edit("events", "type = 'com.example.order'", '"n":', '"m":')


def _invent_an_event(case: Case) -> None:
    case.log(source="/elsewhere", id="1")


def _answer_wrongly(case: Case) -> None:
    case.rewrite("sent", _first(lambda line: line["what"] == "ack", lambda line: [{**line, "position": 0}]))


def _lose_a_file(case: Case) -> None:
    first = case.ask("SELECT min(position) FROM events WHERE source = '/tidemill/files/inbox'")
    case.edit("events", f"position = {first}", '"path":"', '"path":"other-')


def _announce_a_file_twice(case: Case) -> None:
    body = json.loads(case.ask("SELECT body FROM events WHERE source = '/tidemill/files/inbox'"))
    case.log(**{**body, "id": "again"})


def _announce_a_file_early(case: Case) -> None:
    case.rewrite("sent", _first(lambda line: line["what"] == "file", lambda line: [{**line, "size": 1}]))


def _lose_a_record(case: Case) -> None:
    case.edit("events", "source = '/kafka/cluster/t'", "t/0/3", "t/0/9")


def _bury_a_record_too(case: Case) -> None:
    case.bury(0)


def _lose_a_dead_letter(case: Case) -> None:
    case.change("DELETE FROM dead_letters")


def _swap_records(case: Case) -> None:
    for old, new in (("t/0/0", "x"), ("t/0/3", "t/0/0"), ('"x"', '"t/0/3"')):
        case.edit("events", "source = '/kafka/cluster/t'", old, new)


def _double_a_run(case: Case) -> None:
    columns = (
        "dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at"
    )
    case.change(
        f"INSERT INTO runs (number, run_id, {columns}, ended_at, correlation_id, hop_count)"
        f" SELECT (SELECT max(number) + 1 FROM runs), 'another', {columns}, ended_at, correlation_id, hop_count"
        " FROM runs LIMIT 1"
    )


def _lose_a_run(case: Case) -> None:
    case.change("DELETE FROM runs WHERE run_id = ?", case.ask(_RUN))


def _lose_a_disposition(case: Case) -> None:
    case.change("DELETE FROM dispositions WHERE run_id = ?", case.ask(_RUN))


def _keep_a_run_open(case: Case) -> None:
    case.change("UPDATE runs SET state = 'running', ended_at = NULL WHERE run_id = ?", case.ask(_RUN))


def _lie_about_a_run(case: Case) -> None:
    case.change("UPDATE runs SET started_at = started_at + 1 WHERE run_id = ?", case.ask(_RUN))


def _lose_history(case: Case) -> None:
    case.change("DELETE FROM history WHERE sequence = 1")


def _succeed_twice(case: Case) -> None:
    succeeded = '["task_succeeded","settle",1,'
    case.edit("history", "sequence > 0", succeeded, f"{succeeded}null],{succeeded}")


def _ignore_a_cancel(case: Case) -> None:
    run = case.ask(_RUN)
    case.rewrite("sent", lambda lines: [*lines, {"what": "cancel", "run": run}])


def _execute_twice(case: Case) -> None:
    case.rewrite("effects", _first(_any, lambda line: [line, line]))


def _execute_after_success(case: Case) -> None:
    case.rewrite("effects", lambda lines: [*lines, {**lines[0], "attempt": lines[0]["attempt"] + 1}])


def _execute_late(case: Case) -> None:
    case.rewrite("effects", _first(_task("ship"), lambda line: [{**line, "at": line["at"] + 60_000_000}]))


def _execute_early(case: Case) -> None:
    case.rewrite("effects", _first(_task("ship"), lambda line: [{**line, "at": line["at"] - 60_000_000}]))


def _retry_early(case: Case) -> None:
    def is_retry(line: Any) -> bool:
        return bool(line["task"] == "price" and line["attempt"] == 2)

    case.rewrite("effects", _first(is_retry, lambda line: [{**line, "at": line["at"] - 60_000_000}]))


def _skip_an_execution(case: Case) -> None:
    case.rewrite("effects", _first(_task("ship"), lambda line: []))


def _ignore_a_dependency(case: Case) -> None:
    def rewrite(lines: Lines) -> Lines:
        place = next(place for place, line in enumerate(lines) if line["task"] == "ship")
        return [lines[place], *lines[:place], *lines[place + 1 :]]

    case.rewrite("effects", rewrite)


def _reverse_attempts(case: Case) -> None:
    case.rewrite("effects", lambda lines: lines[::-1])


def _lose_a_completion(case: Case) -> None:
    position = case.ask(
        "SELECT position FROM events WHERE instr(CAST(body AS TEXT), ?)", f"{case.ask(_RUN)}/succeeded"
    )
    case.change("DELETE FROM events WHERE position = ?", position)


def _complete_twice(case: Case) -> None:
    body = json.loads(case.ask("SELECT body FROM events WHERE type = ?", _SUCCEEDED))
    case.log(**{**body, "id": "another"})


def _complete_falsely(case: Case) -> None:
    case.edit("events", f"type = '{_SUCCEEDED}'", '"result":{', '"result":{"x":1,')


def _drop_a_delivery(case: Case) -> None:
    case.rewrite("received", lambda lines: lines[1:])


def _forget_a_delivery(case: Case) -> None:
    case.change("DELETE FROM deliveries WHERE position = (SELECT max(position) FROM deliveries)")


def _swap_reports(case: Case) -> None:
    def rewrite(lines: Lines) -> Lines:
        first, second, *_ = (place for place, line in enumerate(lines) if line["path"] == "/reports")
        lines[first], lines[second] = lines[second], lines[first]
        return lines

    case.rewrite("received", rewrite)


def _with_header(line: Any, name: str, value: str) -> Any:
    return {**line, "headers": {**line["headers"], name: value}}


def _change_a_webhook_id(case: Case) -> None:
    case.rewrite("received", _first(_any, lambda line: [line, _with_header(line, "webhook-id", "msg_x")]))


def _share_a_webhook_id(case: Case) -> None:
    case.rewrite("received", lambda lines: [_with_header(line, "webhook-id", "msg_x") for line in lines])


def _forge_a_signature(case: Case) -> None:
    case.rewrite("received", _first(_any, lambda line: [_with_header(line, "webhook-signature", "v1,aGk=")]))


def _sign_too_early(case: Case) -> None:
    case.rewrite("received", _first(_any, lambda line: [{**line, "at": line["at"] + 400_000_000}]))


def _deliver_what_is_not_there(case: Case) -> None:
    case.rewrite(
        "received",
        _first(lambda line: line["path"] == "/reports", lambda line: [_with_header(line, "ce-id", "x")]),
    )


def _skip_in_the_topic(case: Case) -> None:
    case.rewrite("topic", lambda lines: lines[1:])


def _produce_what_is_not_there(case: Case) -> None:
    case.rewrite("topic", lambda lines: [*lines, {**lines[0], "id": "another"}])


def _skip_in_the_stream(case: Case) -> None:
    case.rewrite("stream", lambda lines: lines[:3] + lines[4:])


def _repeat_in_the_stream(case: Case) -> None:
    case.rewrite("stream", lambda lines: [*lines[:3], *lines[2:]])


def _swap_in_the_stream(case: Case) -> None:
    case.rewrite("stream", lambda lines: [lines[1], lines[0], *lines[2:]])


def _change_in_the_stream(case: Case) -> None:
    case.rewrite("stream", _first(_any, lambda line: [{**line, "id": "another"}]))


def _leave_a_request(case: Case) -> None:
    case.change("INSERT INTO requests (run_id, kind, at, by) VALUES ('run', 'cancel', 0, '')")


def _route_nothing(case: Case) -> None:
    case.change("UPDATE cursors SET value = '0' WHERE name = 'router'")


def _waiting(case: Case, trigger: str, kind: str) -> int:
    """Position of a change that ended so."""
    position: int = case.ask(
        "SELECT min(position) FROM dispositions WHERE trigger = ? AND kind = ?", trigger, kind
    )
    return position


def _hold(case: Case, trigger: str, position: int) -> None:
    case.change(
        "INSERT INTO held_events (position, trigger, stage, key, body) VALUES (?, ?, 'debounce', '', x'')",
        position,
        trigger,
    )


def _hold_what_has_ended(case: Case) -> None:
    _hold(case, "pair", _waiting(case, "pair", "run"))


def _hold_for_ever(case: Case) -> None:
    position = _waiting(case, "turn", "run")
    case.change("DELETE FROM dispositions WHERE trigger = 'turn' AND position = ?", position)
    _hold(case, "turn", position)


def _leave_a_pair(case: Case) -> None:
    for half in (0, 1):
        position = case.ask(
            "SELECT min(position) FROM events JOIN dispositions USING (position) WHERE trigger = 'pair'"
            " AND body ->> '$.data.half' = ? AND body ->> '$.data.k' = 1",
            half,
        )
        case.change("DELETE FROM dispositions WHERE trigger = 'pair' AND position = ?", position)
        _hold(case, "pair", position)


def _lose_what_waits(case: Case) -> None:
    case.change("DELETE FROM dispositions WHERE kind = 'debounced_into'")


def _point_to_nothing(case: Case) -> None:
    case.change("UPDATE dispositions SET run_id = 'another' WHERE kind = 'debounced_into'")


def _point_to_another(case: Case) -> None:
    last = case.ask("SELECT run_id FROM runs WHERE trigger = 'gather' ORDER BY position DESC")
    case.change(
        "UPDATE dispositions SET run_id = ? WHERE kind = 'debounced_into' AND position ="
        " (SELECT min(position) FROM dispositions WHERE kind = 'debounced_into')",
        last,
    )


def _lose_an_event_of_a_payload(case: Case) -> None:
    case.change(
        "UPDATE runs SET parameters = CAST(json_remove(CAST(parameters AS TEXT), '$.events[0]') AS BLOB)"
        " WHERE trigger = 'gather'"
    )


def _join_one_half(case: Case) -> None:
    case.change(
        "UPDATE events SET body = CAST(json_set(CAST(body AS TEXT), '$.data.half', 0) AS BLOB)"
        " WHERE type = 'com.example.change'"
    )


def _start_two_at_once(case: Case) -> None:
    case.change(
        "UPDATE runs SET queued_at = (SELECT min(queued_at) FROM runs WHERE trigger = 'turn')"
        " WHERE trigger = 'turn'"
    )


def _take_a_duplicate(case: Case) -> None:
    case.change(
        "UPDATE dispositions SET detail = 'position 0' WHERE trigger = 'turn' AND kind = 'duplicate_of'"
    )


def _drop_below_the_limit(case: Case) -> None:
    case.change("UPDATE dispositions SET kind = 'dropped_by_limit' WHERE trigger = 'turn' AND kind = 'run'")


def _end_as_nobody_said(case: Case) -> None:
    case.change("UPDATE dispositions SET kind = 'coalesced_into' WHERE kind = 'joined_into'")


def _deliver_a_replay(case: Case) -> None:
    position = case.tell_again(_SUCCEEDED)
    case.change(
        "INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail)"
        " VALUES ('completions', ?, 'delivered', 1, 0, '')",
        position,
    )


def _leave_out_of_a_replay(case: Case) -> None:
    position = case.tell_again(_SUCCEEDED)
    case.change("DELETE FROM events WHERE position = ?", position)


def _tell_twice(case: Case) -> None:
    position = case.tell_again(_SUCCEEDED)
    body = json.loads(case.ask("SELECT body FROM events WHERE position = ?", position))
    case.log(**{**body, "id": "again"})


def _tell_something_else(case: Case) -> None:
    position = case.tell_again(_SUCCEEDED)
    case.edit("events", f"position = {position}", '"state"', '"stage"')


def _tell_unasked(case: Case) -> None:
    case.tell_again(_SUCCEEDED)
    case.rewrite("sent", lambda lines: [line for line in lines if line["what"] != "replay"])


_DAMAGES: dict[Callable[[Case], None], str] = {
    _lose_an_event: "acknowledged_lost",
    _double_an_event: "event_doubled",
    _change_an_event: "event_changed",
    _invent_an_event: "event_unexpected",
    _answer_wrongly: "answer_wrong",
    _lose_a_file: "file_lost",
    _announce_a_file_twice: "file_doubled",
    _announce_a_file_early: "file_incomplete",
    _lose_a_record: "record_lost",
    _bury_a_record_too: "record_doubled",
    _lose_a_dead_letter: "record_lost",
    _swap_records: "record_order",
    _double_a_run: "run_doubled",
    _lose_a_run: "run_missing",
    _lose_a_disposition: "disposition_missing",
    _keep_a_run_open: "run_not_ended",
    _lie_about_a_run: "fold_differs",
    _lose_history: "history_invalid",
    _succeed_twice: "history_invalid",
    _ignore_a_cancel: "cancel_lost",
    _execute_twice: "attempt_executed_twice",
    _execute_after_success: "executed_after_success",
    _execute_late: "executed_after_success",
    _execute_early: "executed_without_record",
    _retry_early: "retried_early",
    _skip_an_execution: "success_without_execution",
    _ignore_a_dependency: "dependency_order",
    _reverse_attempts: "attempt_order",
    _lose_a_completion: "completion_missing",
    _complete_twice: "completion_doubled",
    _complete_falsely: "completion_inconsistent",
    _drop_a_delivery: "delivery_missing",
    _forget_a_delivery: "delivery_missing",
    _swap_reports: "delivery_order",
    _change_a_webhook_id: "webhook_id_changed",
    _share_a_webhook_id: "webhook_id_shared",
    _forge_a_signature: "signature_invalid",
    _sign_too_early: "signature_invalid",
    _deliver_what_is_not_there: "delivery_unexpected",
    _skip_in_the_topic: "delivery_missing",
    _produce_what_is_not_there: "delivery_unexpected",
    _skip_in_the_stream: "stream_gap",
    _repeat_in_the_stream: "stream_doubled",
    _swap_in_the_stream: "stream_order",
    _change_in_the_stream: "stream_unexpected",
    _leave_a_request: "unbalanced",
    _route_nothing: "unbalanced",
    _hold_what_has_ended: "disposition_doubled",
    _hold_for_ever: "held_left",
    _leave_a_pair: "join_left",
    _lose_what_waits: "disposition_missing",
    _point_to_nothing: "joined_to_nothing",
    _point_to_another: "payload_differs",
    _lose_an_event_of_a_payload: "payload_differs",
    _join_one_half: "join_incomplete",
    _start_two_at_once: "slots_exceeded",
    _take_a_duplicate: "admission_differs",
    _drop_below_the_limit: "admission_differs",
    _end_as_nobody_said: "disposition_unexpected",
    _deliver_a_replay: "delivery_unexpected",
    _leave_out_of_a_replay: "replay_missing",
    _tell_twice: "replay_doubled",
    _tell_something_else: "replay_changed",
    _tell_unasked: "replay_unexpected",
}


def test_checker_finds_nothing_in_good_evidence(case: Case) -> None:
    assert case.codes() == set()


def test_checker_finds_nothing_wrong_in_a_replay_that_is_whole(case: Case) -> None:
    case.tell_again(_SUCCEEDED)

    assert case.codes() == set()


@pytest.mark.parametrize("damage", _DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_checker_reports_damage(case: Case, damage: Callable[[Case], None]) -> None:
    damage(case)

    assert _DAMAGES[damage] in case.codes()


def test_checker_forgives_the_attempt_that_a_freeze_came_before_and_no_other(case: Case) -> None:
    def is_first(line: Any) -> bool:
        return bool(line["task"] == "price" and line["attempt"] == 1 and line["run"] == retried)

    lines = read_lines(case.folder / "effects.jsonl")
    retried = next(line["run"] for line in lines if line["task"] == "price" and line["attempt"] == 2)
    first = next(line for line in lines if is_first(line))
    late = {**first, "at": first["at"] + 60_000_000}
    frozen = {"what": "frozen", "pid": first["pid"], "at": first["at"], "until": late["at"] - 1000}
    case.rewrite("effects", lambda lines: [*(line for line in lines if not is_first(line)), late])

    found = case.codes()
    case.rewrite("sent", lambda lines: [*lines, {**frozen, "pid": 0}])
    found_of_another = case.codes()
    case.rewrite("sent", lambda lines: [*lines, {**frozen, "at": first["at"] - 10_000_000}])
    found_of_an_earlier_one = case.codes()
    case.rewrite("sent", lambda lines: [*lines, frozen])

    assert found == found_of_another == found_of_an_earlier_one == {"attempt_order", "executed_after_success"}
    assert case.codes() == set()


def test_checker_knows_nothing_of_the_package_under_test() -> None:
    parts = (
        "admitted.py",
        "checker.py",
        "databases.py",
        "evidence.py",
        "fold.py",
        "told_again.py",
        "violations.py",
    )
    for name in parts:
        lines = (Path(__file__).with_name(name)).read_text("utf-8").splitlines()
        imported = [line for line in lines if line.startswith(("import ", "from "))]
        assert imported
        assert not [line for line in imported if "tidemill" in line]
