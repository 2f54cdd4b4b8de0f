# ruff: noqa: DTZ001, E501, RET504 - the DAG function stays as it was written elsewhere
"""Users and what they did, once a day: the DAG is written as it would be for Airflow."""

from collections import Counter
from datetime import datetime
from typing import Any

from tidemill import dag, task


@task
async def extract_user_data() -> list[dict[str, Any]]:
    """The users; a real pipeline reads them from its database."""
    return [
        {"user": 1, "name": "Ada", "country": "GB"},
        {"user": 2, "name": "Grace", "country": "US"},
        {"user": 3, "name": "Edsger", "country": "NL"},
    ]


@task
def transform_event_data() -> dict[str, int]:
    """How often each user did something, from lines of a log. Runs beside `extract_user_data`."""
    lines = ["1 login", "2 login", "1 purchase", "2 logout", "1 logout"]
    return dict(Counter(line.split(" ")[0] for line in lines))


@task
async def join_user_events(users: list[dict[str, Any]], events: dict[str, int]) -> list[dict[str, Any]]:
    """Each user with the number of events."""
    return [{**user, "events": events.get(str(user["user"]), 0)} for user in users]


@task(retries=2)
def load_to_warehouse(rows: list[dict[str, Any]]) -> dict[str, int]:
    """What a warehouse would answer after the load."""
    return {"rows": len(rows), "events": sum(row["events"] for row in rows)}


# fmt: off
@dag(dag_id='user_analytics_pipeline', start_date=datetime(2024, 1, 1), schedule_interval='@daily', catchup=False, max_active_runs=1)
def user_analytics_dag():
    extract_users = extract_user_data()
    transform_events = transform_event_data()
    join_data = join_user_events(extract_users, transform_events)
    load_warehouse = load_to_warehouse(join_data)
    return load_warehouse
# fmt: on
