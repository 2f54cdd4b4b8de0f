"""Workflows that leave a trace of every execution, outside the database that is being checked.

Runs of a DAG without `max_active_runs` are spread over all nodes; the others are each worked on by one node.
"""

import asyncio
import json
import os
import signal
import time
from typing import Any

from tidemill import Context, DoNotRetry, dag, task

#: What a process ends with that a poisonous run ended by itself.
EXIT_CODE = 77


def leave_trace(context: Context) -> None:
    """One line per execution, written before anything else happens."""
    line = {
        "run": context.run_id,
        "task": context.task_id,
        "attempt": context.attempt,
        "key": context.idempotency_key,
        "pid": os.getpid(),
        "at": time.time_ns() // 1000,
    }
    file = os.open(os.environ["ACCEPTANCE_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


@task
async def accept(of: str, n: int, context: Context) -> dict[str, Any]:
    leave_trace(context)
    return {"of": of, "n": n}


@task(retries=2, retry_delay=0.05)
async def price(order: dict[str, Any], context: Context) -> int:
    leave_trace(context)
    if order["n"] % 17 == 0:
        raise DoNotRetry("no price for that")
    if order["n"] % 5 == 0 and context.attempt == 1:
        raise ValueError("the price list is busy")
    return int(order["n"]) * 3


@task
def reserve(order: dict[str, Any], context: Context) -> str:
    leave_trace(context)
    time.sleep(0.005)
    return str(order["of"])


@task
async def ship(of: str, total: int, context: Context) -> dict[str, Any]:
    leave_trace(context)
    await asyncio.sleep(0.005)
    return {"of": of, "total": total}


@dag(dag_id="orders", max_active_runs=None)
def orders(of: str, n: int) -> Any:
    order = accept(of, n)
    return ship(reserve(order), price(order))


@task
async def book(of: str, context: Context) -> str:
    leave_trace(context)
    return of


@task
async def settle(of: str, context: Context) -> dict[str, Any]:
    leave_trace(context)
    return {"of": of}


@dag(dag_id="payments", max_active_runs=200)
def payments(of: str) -> Any:
    return settle(book(of))


@dag(dag_id="readings", max_active_runs=None)
def readings(of: str) -> Any:
    return settle(book(of))


@task
def read(of: str, path: str, context: Context) -> dict[str, Any]:
    leave_trace(context)
    return {"of": of, "path": path}


@task
async def count(table: dict[str, Any], context: Context) -> dict[str, Any]:
    leave_trace(context)
    return table


@dag(dag_id="imports", max_active_runs=50)
def imports(of: str, path: str) -> Any:
    return count(read(of, path))


@dag(dag_id="report", max_active_runs=200)
def report(of: str) -> Any:
    return settle(of)


@dag(dag_id="alarm", max_active_runs=20)
def alarm(of: str) -> Any:
    return settle(of)


@task
async def toil(of: str, context: Context) -> dict[str, Any]:
    leave_trace(context)
    await asyncio.sleep(600)
    return {"of": of}


@dag(dag_id="jobs", max_active_runs=None)
def jobs(of: str) -> Any:
    return toil(of)


@task
async def rest(of: str, context: Context) -> dict[str, Any]:
    leave_trace(context)
    await asyncio.sleep(1 + 0.4 * int(of.rpartition("-")[2]))  # so that one of many ends at any time
    return {"of": of}


@dag(dag_id="naps", max_active_runs=None)
def naps(of: str) -> Any:
    return rest(of)


@task
async def kill(of: str, context: Context) -> None:
    leave_trace(context)
    if of.startswith("exit"):
        os._exit(EXIT_CODE)
    os.kill(os.getpid(), signal.SIGKILL)


@dag(dag_id="poison")
def poison(of: str) -> Any:
    return kill(of)


@task
async def collect(of: str, events: list[Any], context: Context) -> dict[str, Any]:
    leave_trace(context)
    await asyncio.sleep(0.02)
    return {"of": of, "events": len(events)}


@dag(dag_id="gathers", max_active_runs=None)
def gathers(of: str, events: list[Any]) -> Any:
    return collect(of, events)


@task
async def take_turn(of: str, context: Context) -> dict[str, Any]:
    leave_trace(context)
    await asyncio.sleep(0.05)
    return {"of": of}


@dag(dag_id="turns", max_active_runs=None)
def turns(of: str) -> Any:
    return take_turn(of)


@dag(dag_id="pushes", max_active_runs=None)
def pushes(of: str) -> Any:
    return settle(of)
