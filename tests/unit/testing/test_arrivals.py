"""What comes into a harness from outside: files, requests, records, ticks, each through the real source."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill import dag, task
from tidemill.testing import SECRET, Harness, MakeHarness
from tidemill.testing.arrivals import SourceError


@task
async def note(value: Any) -> Any:
    return value


@dag
def keep(value: Any = None) -> Any:
    return note(value)


FILES = """
    sources:
      - name: inbox
        files: {path: inbox, include: ["*.csv"]}
      - name: slow
        files: {path: slow, complete: quiet, quiet: 30s}
    triggers:
      - name: landed
        dag: keep
        pattern: {type: [dev.tidemill.file.landed.v1]}
        parameters: {value: $.data.path}
"""
WEBHOOK = """
    sources:
      - name: shop
        webhook:
          event: {type: order, source: /shop, id: $.body.id}
          data: $.body
          secret: {env: SHOP_SECRET}
    triggers:
      - {name: orders, dag: keep, pattern: {type: [order]}, parameters: {value: $.data.id}}
"""
KAFKA = """
    sources:
      - name: payments
        kafka: {topics: [payments], group: g, type: payment}
    triggers:
      - {name: payments, dag: keep, pattern: {type: [payment]}, parameters: {value: $.data}}
"""
TICKS = """
    sources:
      - {name: tick, schedule: {every: 6h, type: tick}}
    triggers:
      - {name: ticks, dag: keep, pattern: {type: [tick]}}
"""


async def test_dropped_file_lands_at_once_and_again_only_as_another_version(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[keep], triggers=FILES) as harness:
        place = await harness.drop("inbox/a.csv", b"1")
        await harness.run_until_done()
        await harness.drop("inbox/a.csv", "22")
        await harness.drop("inbox/readme.txt", b"")
        await harness.run_until_done()

        assert place.read_bytes() == b"22"
        assert place.is_relative_to(harness.folder)
        await harness.expect_runs("keep", 2, result="a.csv")


async def test_file_that_must_rest_lands_when_time_has_passed(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[keep], triggers=FILES) as harness:
        await harness.drop("slow/b.bin", b"1")
        await harness.advance(29)
        assert await harness.runs() == []
        await harness.advance(2)
        await harness.expect_run("keep", result="b.bin")


async def test_run_until_done_lets_dropped_files_land(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[keep], triggers=FILES) as harness:
        await harness.drop("slow/b.bin", b"1")
        await harness.run_until_done()

        await harness.expect_run("keep", result="b.bin")


async def test_file_that_nobody_watches_is_an_error_that_names_the_folders(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[keep], triggers=FILES) as harness:
        with pytest.raises(SourceError, match="watched are: inbox, slow"):
            await harness.drop("outbox/a.csv", b"")


async def test_file_that_lay_there_when_the_process_died_is_found_by_the_next_one(
    tidemill_harness: MakeHarness,
) -> None:
    async with tidemill_harness(dags=[keep], triggers=FILES) as harness:
        await harness.drop("slow/b.bin", b"1")
        await harness.kill()
        await harness.restart()
        await harness.advance(60)

        await harness.expect_run("keep", result="b.bin")


async def test_webhook_is_verified_by_the_real_endpoint(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SECRET", SECRET)

    async with tidemill_harness(dags=[keep], triggers=WEBHOOK) as harness:
        taken = await harness.webhook("shop", json={"id": "A-1"})
        again = await harness.webhook("shop", b'{"id": "A-1"}')
        refused = await harness.webhook("shop", json={"id": "A-2"}, signed=False)
        wrong = await harness.webhook("shop", b"{", headers={"content-type": "application/json"})
        await harness.run_until_done()

        assert (taken.status, taken.json()["duplicate"]) == (202, False)
        assert (again.status, again.json()["duplicate"]) == (202, True)
        assert (refused.status, refused.json()["code"]) == (401, "signature_missing")
        assert wrong.status == 400
        await harness.expect_run("keep", result="A-1")
        with pytest.raises(SourceError, match="these are: shop"):
            await harness.webhook("store", json={})


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("standard", SECRET),
        ("github", "s3cret"),
        ("gitlab", "s3cret"),
        ("gitlab", SECRET),
        ("stripe", "s3cret"),
        ("slack", "s3cret"),
        ("{header: x-sum, algorithm: sha512, encoding: base64, prefix: v=}", "s3cret"),
    ],
)
async def test_webhook_signs_as_each_sender_does(
    tidemill_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch, scheme: str, secret: str
) -> None:
    monkeypatch.setenv("SHOP_SECRET", secret)
    key = "hmac" if scheme.startswith("{") else "signature"
    triggers = WEBHOOK.replace("secret: {env", f"{key}: {scheme}\n          secret: {{env")

    async with tidemill_harness(dags=[keep], triggers=triggers) as harness:
        taken = await harness.webhook("shop", json={"id": "A-1"})
        changed = await harness.webhook(
            "shop", json={"id": "A-1"}, headers=dict.fromkeys(("x-sum", "x-hub-signature-256"), "x")
        )

        assert taken.status == 202
        assert changed.status == (401 if scheme.startswith(("{", "github")) else 202)


async def test_events_are_posted_through_the_real_endpoint(tidemill_harness: MakeHarness) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "order", "data": {"id": "A-1"}}

    async with tidemill_harness(dags=[keep], triggers=WEBHOOK) as harness:
        headers = {"content-type": "application/cloudevents+json"}
        taken = await harness.post(orjson.dumps(event), headers)
        refused = await harness.post(orjson.dumps(event | {"specversion": "9"}), headers)
        await harness.run_until_done()

        assert (taken.status, refused.status) == (202, 400)
        await harness.expect_run("keep", result="A-1")


async def test_records_are_decoded_without_a_broker(tidemill_harness: MakeHarness) -> None:
    async with tidemill_harness(dags=[keep], triggers=KAFKA) as harness:
        position = await harness.record("payments", json={"cents": 5}, key=b"k")
        again = await harness.record("payments", json={"cents": 5}, key=b"k", offset=0)
        refused = await harness.record("payments", b"{")
        await harness.run_until_done()

        assert again == position
        assert refused == 0
        assert [letter.stage for letter in await harness.dead_letters()] == ["kafka"]
        run = await harness.expect_run("keep", result={"cents": 5})
        assert run.summary.event_id == "payments/0/0"


async def test_schedules_tick_in_virtual_time(tidemill_harness: MakeHarness) -> None:
    @dag(schedule="30 2 * * *")
    def nightly() -> Any:
        return note(1)

    async with tidemill_harness(dags=[keep, nightly], triggers=TICKS) as harness:
        await harness.advance(days=3)

        assert len(await harness.runs("nightly")) == 3
        assert len(await harness.runs("keep")) == 12
    async with tidemill_harness(dags=[keep, nightly], triggers=TICKS, sources=False) as harness:
        await harness.advance(timedelta(days=3))
        assert await harness.runs() == []


async def test_derived_events_of_trigger_texts_are_made(tidemill_harness: MakeHarness) -> None:
    triggers = """
        derive:
          - name: totals
            pattern: {type: [order]}
            event: {type: total}
            data: {sum: $.data.sum}
        triggers:
          - {name: totals, dag: keep, pattern: {type: [total]}, parameters: {value: $.data.sum}}
    """

    async with tidemill_harness(dags=[keep], triggers=triggers) as harness:
        await harness.send(type="order", data={"sum": 7})
        await harness.run_until_done()

        await harness.expect_run("keep", result=7)


async def test_project_of_a_folder_keeps_its_watched_folders_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "a.yaml").write_text("sources: [{name: inbox, files: {path: inbox}}]\n")

    async with Harness(root=tmp_path) as harness:
        await harness.drop("inbox/a.csv", b"1")
        await harness.run_until_idle()

        assert [event.data["path"] for event in await harness.events()] == ["a.csv"]
    assert not (tmp_path / "inbox").exists()
