"""The public conformance cases, through the same door as `tidemill match`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidemill.events import json_format
from tidemill.patterns import ParseError, evaluate_sql, match_line

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
#: The event of CESQL cases that bring none.
ANY_EVENT = {"specversion": "1.0", "id": "any", "source": "/any", "type": "any"}


def cases(name: str) -> list[Any]:
    loaded = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["name"]) for case in loaded]


def answer(dialect: str, pattern: Any, event: Any) -> bool | str:
    verdict = match_line(json.dumps({dialect: pattern, "event": event}))
    return "invalid" if "error" in verdict else bool(verdict["match"])


@pytest.mark.parametrize("case", cases("subscriptions_knative"))
def test_filters_answer_as_knative_does(case: dict[str, Any]) -> None:
    assert answer("filters", case["pattern"], case["event"]) == case["expected"]


@pytest.mark.parametrize("case", cases("eventbridge_localstack_aws_validated"))
def test_pattern_answers_as_the_aws_service_does(case: dict[str, Any]) -> None:
    # every operator that occurs in these cases is supported, so none is left out
    assert answer("pattern", case["pattern"], case["event"]) == case["expected"]


@pytest.mark.parametrize("case", cases("cesql_tck"))
def test_cesql_gives_value_and_error_as_the_conformance_kit_says(case: dict[str, Any]) -> None:
    # a bare true or 1 was read as such from the kit's YAML
    text = case["pattern"] if isinstance(case["pattern"], str) else json.dumps(case["pattern"])
    event = {**case.get("event", ANY_EVENT), **case.get("eventOverrides", {})}
    expected = case["expected"]
    passes = expected.get("result") is True and "error" not in expected

    if expected.get("error") == "parse":
        with pytest.raises(ParseError):
            evaluate_sql(text, json_format.from_json(event))
        assert answer("cesql", text, event) == "invalid"
    else:
        value, errors = evaluate_sql(text, json_format.from_json(event))

        assert (type(value), value) == (type(expected["result"]), expected["result"])
        assert {str(error.kind) for error in errors} == (
            {expected["error"]} if "error" in expected else set()
        )
        assert answer("cesql", text, event) is passes
        assert answer("filters", [{"sql": text}], event) is passes
