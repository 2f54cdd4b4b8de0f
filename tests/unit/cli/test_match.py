"""`tidemill match` answers line for line."""

from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import Result

Run = Callable[..., Result]

EVENT = {"specversion": "1.0", "id": "1", "source": "/x", "type": "order.placed", "data": {"n": 5}}


def test_match_answers_each_line_in_order(run: Run) -> None:
    lines = [
        {"pattern": {"data": {"n": [5]}}, "event": EVENT},
        {"pattern": {"data": {"n": [6]}}, "event": EVENT},
        {"filters": [{"prefix": {"type": "order."}}], "event": EVENT},
        {"filters": [{"suffix": {"type": "order."}}], "event": EVENT},
    ]

    result = run("match", input="".join(json.dumps(line) + "\n" for line in lines))

    assert result.exit_code == 0
    answers = [json.loads(line)["match"] for line in result.stdout.splitlines()]
    assert answers == [True, False, True, False]


def test_match_tells_what_is_wrong_with_a_line_and_goes_on(run: Run) -> None:
    good = json.dumps({"pattern": {"type": ["order.placed"]}, "event": EVENT})

    result = run("match", input=f"{{\n\n[]\n{good}".encode() + b"\n\xff\n")

    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(answer) for answer in answers] == [{"error"}, {"error"}, {"error"}, {"match"}, {"error"}]


def test_match_of_nothing_is_nothing(run: Run) -> None:
    result = run("match", input="")

    assert (result.exit_code, result.stdout) == (0, "")
