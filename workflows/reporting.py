"""What became of the day's work: started by the completion of other runs, never by its own."""

from datetime import datetime
from typing import Any

from tidemill import Context, dag, task


@task
async def measure(started_at: datetime, ended_at: datetime) -> float:
    """How long the run took, in milliseconds."""
    return round((ended_at - started_at).total_seconds() * 1000, 3)


@task
async def write_line(dag_id: str, milliseconds: float, result: Any, context: Context) -> dict[str, Any]:
    """One line of the day's report; the event says which run it is about."""
    day = str(context.event.time)[:10] if context.event else ""
    return {"day": day, "dag": dag_id, "milliseconds": milliseconds, "result": result}


@dag(dag_id="daily_report", description="Report on a run that succeeded.", tags=["reports"])
def daily_report(dag_id: str, started_at: datetime, ended_at: datetime, result: Any = None) -> Any:
    """Report on one run."""
    return write_line(dag_id, measure(started_at, ended_at), result)
