"""A month of the example project: its schedule, and a file a day."""

from __future__ import annotations

from tidemill.testing import BlockingHarness


def test_month_of_ticks_and_files(tidemill: BlockingHarness) -> None:
    for day in range(1, 31):
        tidemill.drop(f"inbox/{day}.csv", f"sku,quantity,unit_cents\nTEA-1,{day},450\n")
        tidemill.advance(days=1)

    tidemill.expect_runs("user_analytics_pipeline", 30, result={"rows": 3, "events": 5})
    imported = tidemill.expect_runs("import_csv", 30)
    assert [run.result("check")["pieces"] for run in imported] == [*range(1, 31)]
    reports = tidemill.expect_runs("daily_report", 30)
    assert reports[-1].result("write_line")["day"] == "2024-01-30"
