"""DAGs that do nothing, as fast as they can."""

import time

from tidemill import Context, dag, task

#: Event id to the moment its first task began, in seconds of `time.perf_counter`.
STARTED: dict[str, float] = {}


@task
async def noop(above: object = None) -> None:
    return None


@task
async def join(above: list[None]) -> int:
    return len(above)


@task
async def note(context: Context) -> None:
    if context.event is not None:
        STARTED[context.event.id] = time.perf_counter()


@dag(dag_id="chain10", max_active_runs=1_000_000)
def chain10():
    result = noop()
    for _ in range(9):
        result = noop(result)
    return result


@dag(dag_id="fan10000", max_active_runs=100)
def fan10000():
    return join([noop() for _ in range(10_000)])


@task
async def numbers(size: int) -> list[int]:
    return list(range(size))


@task
async def same(number: int) -> int:
    return number


@dag(dag_id="mapped", max_active_runs=100)
def mapped(size: int):
    return join(same.map(numbers(size)))


@dag(dag_id="first", max_active_runs=1_000_000)
def first():
    note()


@dag(dag_id="one", max_active_runs=1_000_000)
def one():
    noop()
