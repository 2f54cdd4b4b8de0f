"""Histories that earlier versions of the code have recorded fold to what they folded to then, for ever.

`scripts/record-histories` made the files; one that is there is never written again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.project.workflows import load_source
from tidemill.runs.fold import apply
from tidemill.runs.records import decode, encode
from tidemill.runs.state import RunState
from tidemill.runs.view import decode_graph, encode_graph, task_views

FOLDER = Path(__file__).parents[2] / "data" / "histories"
FILES = sorted(FOLDER.glob("*.json"))
#: Histories that there are: raised with each that is added.
LEAST = 18

Kept = dict[str, Any]


@pytest.fixture(params=FILES, ids=[file.stem for file in FILES])
def kept(request: pytest.FixtureRequest) -> Kept:
    return json.loads(request.param.read_text("utf-8"))  # type: ignore[no-any-return]


def rows(kept: Kept) -> list[tuple[int, int, bytes]]:
    return [(sequence, at, body.encode()) for sequence, at, body in kept["history"]]


def dag_of(kept: Kept) -> Any:
    return load_source("\n".join(kept["source"]) + "\n", "workflows/recorded.py", kept["dag"])


def shown(value: bytes | None) -> str | None:
    return None if value is None else orjson.dumps(orjson.loads(value)).decode()


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


def test_no_kept_history_was_lost() -> None:
    assert len(FILES) >= LEAST


def test_kept_history_folds_to_the_state_of_its_time(kept: Kept) -> None:
    dag = dag_of(kept)
    state = RunState(kept["run_id"], dag, kept["parameters"].encode())

    for sequence, at, body in rows(kept):
        assert sequence == state.sequence
        for record in decode(body):
            apply(state, record, at)
        state.sequence += 1

    expected = kept["state"]
    members = [name for name in expected if name != "tasks"]
    assert as_json({name: getattr(state, name) for name in members}) == {
        name: expected[name] for name in members
    }
    for task, was in expected["tasks"].items():
        index = dag.index[task]
        found = {
            "state": state.tasks[index],
            "attempts": state.attempts[index],
            "lost": state.lost.get(index, 0),
            "result": shown(state.results.get(index)),
            "error": state.errors.get(index),
            "retry_at": state.retry_at.get(index),
        }
        assert as_json(found) == was, task


def test_kept_history_looks_as_it_did_in_its_time(kept: Kept) -> None:
    graph = decode_graph(encode_graph(dag_of(kept)))

    views = task_views(graph, rows(kept))

    assert [
        as_json(
            {
                "task": view.task_id,
                "state": view.state,
                "attempts": view.attempts,
                "started_at": view.started_at,
                "ended_at": view.ended_at,
                "error": view.error,
                "result": shown(view.result),
                "retry_at": view.retry_at,
            }
        )
        for view in views
    ] == kept["view"]


def test_kept_version_is_the_version_that_its_text_makes_today(kept: Kept) -> None:
    assert dag_of(kept).version == kept["version"]


def test_kept_records_are_the_same_when_they_are_written_again(kept: Kept) -> None:
    for _, _, body in rows(kept):
        assert decode(encode(decode(body))) == decode(body)
