"""Delivery notes that land in `inbox/`."""

from __future__ import annotations

from tidemill.testing import BlockingHarness

HEADER = "sku,quantity,unit_cents\n"


def test_file_that_lands_is_summed_up_and_reported(tidemill: BlockingHarness) -> None:
    tidemill.drop("inbox/monday.csv", f"{HEADER}TEA-1,2,450\nTEA-1,1,450\n")
    tidemill.run_until_done()

    found = {"file": "monday.csv", "articles": 1, "rows": 2, "pieces": 3, "cents": 1350}
    tidemill.expect_run("import_csv", result=found)
    report = tidemill.expect_run("daily_report").result("write_line")
    assert (report["dag"], report["result"]) == ("import_csv", found)


def test_wrong_row_fails_the_run_with_its_line(tidemill: BlockingHarness) -> None:
    tidemill.drop("inbox/wrong.csv", f"{HEADER}TEA-1,many,450\n")
    tidemill.run_until_done()

    run = tidemill.expect_run("import_csv", state="failed", attempts={"check": 1})
    assert "wrong.csv line 2: quantity 'many' is no whole number" in str(run)
    tidemill.expect_runs("daily_report", 0)


def test_other_files_start_nothing(tidemill: BlockingHarness) -> None:
    tidemill.drop("inbox/readme.txt", "nothing")
    tidemill.run_until_done()

    tidemill.expect_runs("import_csv", 0, state=None)


def test_corrected_file_is_another_delivery(tidemill: BlockingHarness) -> None:
    tidemill.drop("inbox/a.csv", f"{HEADER}TEA-1,many,450\n")
    tidemill.run_until_done()
    tidemill.drop("inbox/a.csv", f"{HEADER}TEA-1,2,450\n")
    tidemill.run_until_done()

    tidemill.expect_run("import_csv", state="failed")
    tidemill.expect_run("import_csv", state="succeeded")
