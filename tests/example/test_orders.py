"""Orders that come by webhook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill.testing import BlockingHarness, Chaos, RunView, task_function

ORDER = {
    "id": "A-1001",
    "customer": "ada@example.com",
    "card": "visa",
    "lines": [
        {"sku": "TEA-1", "quantity": 2, "unit_cents": 450},
        {"sku": "CUP-7", "quantity": 1, "unit_cents": 1290},
    ],
}
CONFIRMED = {"order": "A-1001", "pieces": 3, "cents": 2190}


def test_order_is_priced_reserved_charged_and_confirmed(
    tidemill: BlockingHarness, assert_history: Callable[[RunView, str], None]
) -> None:
    answer = tidemill.webhook("shop", json=ORDER)
    tidemill.run_until_done()

    assert answer.status == 202
    assert_history(tidemill.expect_run("process_order", result=CONFIRMED), "order")
    tidemill.expect_run("daily_report")


def test_order_that_is_sent_twice_starts_one_run(tidemill: BlockingHarness) -> None:
    first, again = tidemill.webhook("shop", json=ORDER), tidemill.webhook("shop", json=ORDER)
    tidemill.run_until_done()

    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    tidemill.expect_run("process_order")


def test_order_without_lines_is_refused_at_the_door(tidemill: BlockingHarness) -> None:
    refused = tidemill.webhook("shop", json=ORDER | {"lines": []})

    assert (refused.status, refused.json()["attribute"]) == (422, "/data/lines")


def test_busy_bank_is_asked_again_with_the_same_key(tidemill: BlockingHarness) -> None:
    charges = tidemill.stub("process_order.charge", raises=ConnectionError("the bank is busy"), times=2)
    tidemill.webhook("shop", json=ORDER)
    tidemill.run_until_done()

    tidemill.expect_run("process_order", result=CONFIRMED, attempts={"charge": 3, "price": 1})
    assert len({call.arguments["context"].idempotency_key for call in charges.calls}) == 1


def test_declined_card_fails_the_run_at_once_and_nobody_reports_it(tidemill: BlockingHarness) -> None:
    tidemill.webhook("shop", json=ORDER | {"card": "declined"})
    tidemill.run_until_done()

    tidemill.expect_run("process_order", state="failed", attempts={"charge": 1, "confirm": 0})
    tidemill.expect_runs("daily_report", 0)


def test_price_is_the_sum_of_the_lines(tidemill_project: Any) -> None:
    price = task_function(tidemill_project, "process_order.price")

    assert price(ORDER) == 2190


@pytest.mark.tidemill(chaos=Chaos(kill=0.05, lost_answer=0.05, duplicate=0.3))
@pytest.mark.parametrize("seed", range(3))
def test_every_order_is_confirmed_once_whatever_happens(tidemill: BlockingHarness, seed: int) -> None:
    for number in range(5):
        tidemill.webhook("shop", json=ORDER | {"id": f"{seed}-{number}"})
    tidemill.run_until_done()

    runs = tidemill.expect_runs("process_order", 5)
    assert {run.result("confirm")["order"] for run in runs} == {f"{seed}-{number}" for number in range(5)}
