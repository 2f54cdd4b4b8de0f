"""The example project of this repository: each of its files is loaded, run and held to what it says."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill import DoNotRetry
from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.events.event import Event
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.service import Service
from tidemill.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDERS = ("workflows", "triggers", "schemas")
COMPLETION = "dev.tidemill.run."

ORDER = {
    "id": "A-1001",
    "customer": "ada@example.com",
    "card": "visa",
    "lines": [
        {"sku": "TEA-1", "quantity": 2, "unit_cents": 450},
        {"sku": "CUP-7", "quantity": 1, "unit_cents": 1290},
    ],
}
PAYMENT = {"id": "P-1", "order": "A-1001", "cents": 2190, "currency": "EUR"}
AS_IT_WAS_WRITTEN = """\
@dag(dag_id='user_analytics_pipeline', start_date=datetime(2024, 1, 1), schedule_interval='@daily', catchup=False, max_active_runs=1)
def user_analytics_dag():
    extract_users = extract_user_data()
    transform_events = transform_event_data()
    join_data = join_user_events(extract_users, transform_events)
    load_warehouse = load_to_warehouse(join_data)
    return load_warehouse
"""  # noqa: E501


class Served:
    """The example project, served in this process."""

    def __init__(self, service: Service, client: httpx.AsyncClient, root: Path) -> None:
        self.service = service
        self.client = client
        self.inbox = root / "inbox"
        self._completions: list[Event] = []
        self._position = 0

    async def completion(self, dag: str) -> Event:
        """The first completion of a run of `dag`."""
        log = self.service.store.log
        async with asyncio.timeout(20):
            while True:
                for event in self._completions:
                    if event.data["dag"] == dag:
                        return event
                await log.wait_for_event(self._position)
                for logged in await log.read(self._position, 100):
                    self._position = logged.position
                    if logged.event.type.startswith(COMPLETION):
                        self._completions.append(logged.event)

    async def run(self, run_id: str | None) -> dict[str, Any]:
        """A run with its tasks by id."""
        answer = await self.client.get(f"/api/v1/runs/{run_id}")
        run: dict[str, Any] = answer.json()
        return run | {"tasks": {task["id"]: task for task in run["tasks"]}}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "inbox").mkdir()
    service = Service(tmp_path, Settings(port=0))
    await service.start()
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
        yield Served(service, client, tmp_path)
    await service.stop()


@pytest.fixture(scope="module")
def project() -> Project:
    return load(ROOT)


@pytest.fixture(scope="module")
def function(project: Project) -> Callable[[str, str], Callable[..., Any]]:
    """The function of a task."""

    def find(dag_id: str, task_id: str) -> Callable[..., Any]:
        dag: Dag = project.dags[dag_id]
        return next(node.function for node in dag.tasks if node.task_id == task_id)

    return find


def test_project_defines_what_the_readme_shows(project: Project) -> None:
    assert set(project.dags) == {
        "process_order",
        "import_csv",
        "record_payment",
        "daily_report",
        "user_analytics_pipeline",
    }
    assert {source.name for source in project.sources} == {"shop", "inbox", "payments"}
    assert not project.warnings


def test_project_needs_no_receiver(project: Project) -> None:
    assert not project.subscriptions


def test_every_dag_but_the_scheduled_one_has_a_trigger(project: Project) -> None:
    triggered = {trigger.dag for trigger in project.triggers}

    assert {name for name, dag in project.dags.items() if dag.schedule is None} == triggered


async def test_order_becomes_a_run_and_its_completion_a_report(served: Served) -> None:
    answer = await served.client.post("/webhooks/shop", json=ORDER)

    order = await served.completion("process_order")
    report = await served.completion("daily_report")

    assert answer.status_code == 202
    assert order.type == "dev.tidemill.run.succeeded.v1"
    assert order.data["result"] == {"order": "A-1001", "pieces": 3, "cents": 2190}
    assert report.data["event"] == {"source": order.source, "id": order.id}
    assert report.data["result"]["result"] == order.data["result"]
    assert report.data["result"]["day"] == str(order.time)[:10]
    assert report.data["result"]["milliseconds"] > 0


async def test_order_keeps_its_identity_and_schema(served: Served) -> None:
    position = (await served.client.post("/webhooks/shop", json=ORDER)).json()["position"]

    event = (await served.client.get(f"/api/v1/events/{position}")).json()["event"]

    assert (event["source"], event["id"], event["subject"]) == ("/shop", "A-1001", "A-1001")
    assert event["dataschema"] in served.service.project.schemas
    assert served.service.project.schemas[event["dataschema"]].is_valid(event["data"])


async def test_busy_bank_is_asked_again(served: Served) -> None:
    await served.client.post("/webhooks/shop", json=ORDER | {"card": "busy"})

    order = await served.completion("process_order")
    run = await served.run(order.subject)

    assert run["state"] == "succeeded"
    assert run["tasks"]["charge"]["attempts"] == 2
    assert run["tasks"]["charge"]["result"]["key"] == f"{order.subject}/charge"
    assert run["tasks"]["price"]["attempts"] == 1


async def test_declined_card_fails_the_run_at_once_and_says_why(served: Served) -> None:
    await served.client.post("/webhooks/shop", json=ORDER | {"card": "declined"})

    order = await served.completion("process_order")
    run = await served.run(order.subject)

    assert order.type == "dev.tidemill.run.failed.v1"
    assert run["tasks"]["charge"]["error"]["message"] == "the card of order A-1001 was declined"
    assert run["tasks"]["charge"]["attempts"] == 1
    assert run["tasks"]["confirm"]["state"] == "upstream_failed"


async def test_order_sent_twice_is_one_run(served: Served) -> None:
    first = await served.client.post("/webhooks/shop", json=ORDER)

    second = await served.client.post("/webhooks/shop", json=ORDER)
    await served.completion("process_order")
    runs = (await served.client.get("/api/v1/runs", params={"dag": "process_order"})).json()["items"]

    assert second.json() == {"position": first.json()["position"], "duplicate": True}
    assert len(runs) == 1


async def test_order_that_makes_no_sense_becomes_a_dead_letter(served: Served) -> None:
    # It names no schema: nothing at the door says what it should look like.
    wrong = {"specversion": "1.0", "id": "A-1001", "source": "/shop", "type": "com.example.order.placed"}
    posted = await served.client.post(
        "/events",
        content=json.dumps({**wrong, "data": ORDER | {"lines": []}}),
        headers={"content-type": "application/cloudevents+json"},
    )
    await served.client.post("/webhooks/shop", json=ORDER | {"id": "A-1002"})

    await served.completion("process_order")
    letters = (await served.client.get("/api/v1/dead-letters")).json()["items"]

    assert posted.status_code == 202
    assert [letter["code"] for letter in letters] == ["invalid_parameters"]
    assert "lines" in letters[0]["detail"]


async def test_order_that_does_not_follow_its_schema_is_refused_at_the_door(served: Served) -> None:
    refused = await served.client.post("/webhooks/shop", json=ORDER | {"lines": []})

    assert (refused.status_code, refused.json()["code"]) == (422, "schema_violation")
    assert refused.json()["attribute"] == "/data/lines"


async def test_file_becomes_a_run_and_its_completion_a_report(served: Served) -> None:
    (served.inbox / "monday.csv").write_text("sku,quantity,unit_cents\nTEA-1,2,450\nTEA-1,1,450\n", "utf-8")

    imported = await served.completion("import_csv")
    report = await served.completion("daily_report")

    assert imported.data["result"] == {
        "file": "monday.csv",
        "articles": 1,
        "rows": 2,
        "pieces": 3,
        "cents": 1350,
    }
    assert report.data["result"]["dag"] == "import_csv"


async def test_wrong_file_fails_the_run_and_starts_no_report(served: Served) -> None:
    (served.inbox / "wrong.csv").write_text("sku,quantity,unit_cents\nTEA-1,many,450\n", "utf-8")

    imported = await served.completion("import_csv")
    run = await served.run(imported.subject)
    reports = (await served.client.get("/api/v1/runs", params={"dag": "daily_report"})).json()["items"]

    assert imported.type == "dev.tidemill.run.failed.v1"
    assert run["tasks"]["check"]["error"]["message"] == (
        "wrong.csv line 2: quantity 'many' is no whole number"
    )
    assert run["tasks"]["check"]["attempts"] == 1
    assert reports == []


async def test_payment_becomes_a_run(served: Served) -> None:
    event = {"specversion": "1.0", "id": "P-1", "source": "/bank", "type": "com.example.payment.received"}
    await served.client.post(
        "/events", json=event | {"data": PAYMENT}, headers={"content-type": "application/cloudevents+json"}
    )

    payment = await served.completion("record_payment")

    assert payment.data["result"] == {
        "payment": "P-1",
        "order": "A-1001",
        "net_cents": 2135,
        "key": f"{payment.subject}/record",
    }


async def test_kafka_source_is_off_without_a_broker(served: Served) -> None:
    sources = (await served.client.get("/api/v1/sources")).json()["items"]

    states = {source["name"]: source["state"] for source in sources}

    assert states["payments"] == "stopped"
    assert states["shop"] == "live"
    assert states["inbox"] in ("starting", "live")


async def test_schedule_starts_the_analytics_of_the_latest_day(served: Served) -> None:
    completion = await served.completion("user_analytics_pipeline")

    run = await served.run(completion.subject)

    assert run["trigger"] == "schedule"
    assert completion.data["result"] == {"rows": 3, "events": 5}
    assert set(run["tasks"]) == {
        "extract_user_data",
        "transform_event_data",
        "join_user_events",
        "load_to_warehouse",
    }


def test_analytics_dag_is_as_it_was_written() -> None:
    text = (ROOT / "workflows" / "user_analytics.py").read_text("utf-8")

    assert AS_IT_WAS_WRITTEN in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("sku,amount\nA,1\n", "the header is ['sku', 'amount'], not ['sku', 'quantity', 'unit_cents']"),
        ("", "the header is None, not ['sku', 'quantity', 'unit_cents']"),
        ("sku,quantity,unit_cents\n", "no rows"),
        ("sku,quantity,unit_cents\nA,1\n", "line 2: a row has 3 values"),
        ("sku,quantity,unit_cents\nA,1,2,3\n", "line 2: a row has 3 values"),
        ("sku,quantity,unit_cents\n,1,2\n", "line 2: sku is empty"),
        ("sku,quantity,unit_cents\nA,1,2\nA,-1,2\n", "line 3: quantity '-1' is no whole number"),
        ("sku,quantity,unit_cents\nA,1,²\n", "line 2: unit_cents '²' is no whole number"),
        ('sku,quantity,unit_cents\n"A"x,1,2\n', "not a CSV file"),
    ],
    ids=["header", "empty", "no rows", "short", "long", "no sku", "negative", "superscript", "quotes"],
)
def test_check_names_what_is_wrong_with_a_file(
    function: Callable[..., Any], tmp_path: Path, rows: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(rows, "utf-8")

    with pytest.raises(DoNotRetry) as refused:
        function("import_csv", "check")(str(tmp_path), "a.csv")

    assert message in str(refused.value)
    assert str(refused.value).startswith("a.csv")


def test_check_refuses_what_is_not_text(function: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"sku,quantity,unit_cents\n\xff,1,2\n")

    with pytest.raises(DoNotRetry, match="not a CSV file"):
        function("import_csv", "check")(str(tmp_path), "a.csv")


def test_check_sums_what_other_programs_write(function: Callable[..., Any], tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["sku", "quantity", "unit_cents"], ["A, B", 2, 30], ["C", 1, 5]])
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode())

    found = function("import_csv", "check")(str(tmp_path), "a.csv")

    assert found == {"rows": 2, "articles": ["A, B", "C"], "pieces": 3, "cents": 65}


@pytest.mark.parametrize(("cents", "net"), [(10, 0), (2190, 2135), (100_000, 98_575)])
def test_net_takes_the_fee_off(function: Callable[..., Any], project: Project, cents: int, net: int) -> None:
    values = project.dags["record_payment"].parameters.validate_python(
        {"payment": PAYMENT | {"cents": cents}}
    )

    assert function("record_payment", "net")(values["payment"]) == net


@pytest.mark.parametrize(
    ("schema", "data", "valid"),
    [
        ("order", ORDER, True),
        ("order", ORDER | {"lines": []}, False),
        ("order", {name: value for name, value in ORDER.items() if name != "card"}, False),
        ("payment", PAYMENT, True),
        ("payment", PAYMENT | {"cents": 0}, False),
        ("payment", PAYMENT | {"currency": "XXX"}, False),
    ],
)
def test_schemas_agree_with_the_parameters_of_the_dags(
    project: Project, schema: str, data: dict[str, Any], valid: bool
) -> None:
    validator = project.schemas[f"https://shop.example.com/schemas/{schema}.v1.json"]
    parameters = project.dags[{"order": "process_order", "payment": "record_payment"}[schema]].parameters

    assert validator.is_valid(data) is valid
    if valid:
        assert parameters.validate({schema: data})[schema]["id"] == data["id"]
    else:
        with pytest.raises(ParameterError, match=schema):
            parameters.validate({schema: data})
