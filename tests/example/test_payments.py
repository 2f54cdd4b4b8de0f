"""Payments that come as records of a Kafka topic, without a broker."""

from __future__ import annotations

from tidemill.testing import BlockingHarness

PAYMENT = {"id": "P-1", "order": "A-1001", "cents": 2190, "currency": "EUR"}


def test_payment_is_booked_less_the_fee(tidemill: BlockingHarness) -> None:
    tidemill.record("payments", json=PAYMENT, key=b"A-1001")
    tidemill.run_until_done()

    run = tidemill.expect_run("record_payment")
    assert run.result("record") == {
        "payment": "P-1",
        "order": "A-1001",
        "net_cents": 2135,
        "key": f"{run.run_id}/record",
    }


def test_record_that_is_read_twice_is_booked_once(tidemill: BlockingHarness) -> None:
    tidemill.record("payments", json=PAYMENT, offset=0)
    tidemill.record("payments", json=PAYMENT, offset=0)
    tidemill.run_until_done()

    tidemill.expect_run("record_payment")


def test_record_that_is_no_json_is_a_dead_letter(tidemill: BlockingHarness) -> None:
    position = tidemill.record("payments", b"{")
    tidemill.run_until_done()

    assert position == 0
    assert [(letter.stage, letter.origin) for letter in tidemill.dead_letters()] == [("kafka", "payments")]
    tidemill.expect_runs("record_payment", 0, state=None)
