"""The public conformance cases, through the same door as `tidemill match`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidemill.patterns import match_line

VECTORS = Path(__file__).parents[2] / "data" / "vectors"


def cases(name: str) -> list[Any]:
    loaded = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["name"]) for case in loaded]


def answer(dialect: str, case: dict[str, Any]) -> bool | str:
    verdict = match_line(json.dumps({dialect: case["pattern"], "event": case["event"]}))
    return "invalid" if "error" in verdict else verdict["match"]


@pytest.mark.parametrize("case", cases("subscriptions_knative"))
def test_filters_answer_as_knative_does(case: dict[str, Any]) -> None:
    # CESQL is a language of its own and not among the dialects: it must be refused, never let through
    expected = "invalid" if "sql" in case["pattern"] else case["expected"]

    assert answer("filters", case) == expected


@pytest.mark.parametrize("case", cases("eventbridge_localstack_aws_validated"))
def test_pattern_answers_as_the_aws_service_does(case: dict[str, Any]) -> None:
    # every operator that occurs in these cases is supported, so none is left out
    assert answer("pattern", case) == case["expected"]
