"""Building: valid DAGs are numbered, invalid ones are refused with every problem."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tidemill import Context, Retry, dag, task
from tidemill.dag.binding import resolve, resolve_output
from tidemill.dag.build import build
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag, Schedule

Built = Callable[..., Dag]
Problems = Callable[..., list[str]]


@task
def one() -> int:
    return 1


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
async def wait(a: Any, *, context: Context) -> Any:
    return a


# ── what is built ─────────────────────────────────────────────────────────────────────────────────────────


def test_build_numbers_tasks_in_topological_order_with_both_directions_of_edges(built: Built) -> None:
    @dag
    def diamond() -> Any:
        left, right = add(one()), add(2)
        return wait([left, {"right": right}])

    made = built(diamond)

    assert [node.task_id for node in made.tasks] == ["one", "add", "add__2", "wait"]
    assert [node.upstream for node in made.tasks] == [(), (0,), (), (1, 2)]
    assert [node.downstream for node in made.tasks] == [(1,), (3,), (3,), ()]
    assert made.roots == (0, 2)
    assert made.index == {"one": 0, "add": 1, "add__2": 2, "wait": 3}
    assert [node.is_coroutine for node in made.tasks] == [False, False, False, True]
    assert made.tasks[3].context_parameter == "context"


def test_build_resolves_arguments_and_output_with_results_and_parameters(built: Built) -> None:
    @dag
    def flow(start: int, factor: int = 3) -> Any:
        first = add(start, b=factor)
        return {"first": first, "all": [first["rows"][0], factor]}

    made = built(flow)

    assert resolve(made.tasks[0], [], {"start": 1, "factor": 2}) == ((1,), {"b": 2})
    assert resolve_output(made, [{"rows": [7]}], {"start": 1, "factor": 2}) == {
        "first": {"rows": [7]},
        "all": [7, 2],
    }


def test_build_orders_by_arrows_and_depends_on_without_passing_results(built: Built) -> None:
    @task(depends_on=["late", one])
    def named() -> None: ...

    @task
    def late() -> None: ...

    @dag
    def flow() -> None:
        named()
        first, second, third = one(), late(), add(1)
        third >> [first, second]
        [first, second] >> add(2)
        add(3) << [third]

    made = built(flow)

    order = {node.task_id: node for node in made.tasks}
    names = {node.index: node.task_id for node in made.tasks}
    waits = {name: [names[one] for one in node.upstream] for name, node in order.items()}
    assert waits == {
        "add": [],
        "one": ["add"],
        "late": ["add"],
        "named": ["one", "late"],
        "add__2": ["one", "late"],
        "add__3": ["add"],
    }
    assert all(upstream < node.index for node in made.tasks for upstream in node.upstream)


def test_build_takes_retry_from_the_task_before_the_dag(built: Built) -> None:
    @dag(default_retry=Retry(max_attempts=4))
    def flow() -> None:
        add(1)
        add.override(retries=2, retry_delay=60)(2)
        add.override(retry=Retry(max_attempts=9), timeout=timedelta(seconds=5))(3)
        add.override(retries=1, retry_delay=timedelta(hours=1), execution_timeout=1.5)(4)

    first, second, third, fourth = built(flow).tasks

    assert first.retry == Retry(max_attempts=4)
    assert second.retry == Retry(max_attempts=3, delay=timedelta(minutes=1))
    assert (third.retry, third.timeout) == (Retry(max_attempts=9), timedelta(seconds=5))
    assert fourth.retry.delay_after(1, chance=0.5) == 3600
    assert fourth.timeout == timedelta(seconds=1.5)


def test_build_keeps_settings_of_the_dag(built: Built) -> None:
    @dag(
        dag_id="daily.report-1",
        schedule="30 2 * * 1",
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        timezone="Europe/Berlin",
        catchup=True,
        max_active_runs=2,
        max_active_tasks=3,
        tags=["finance"],
    )
    def report() -> Any:
        """Adds up the week.

        Longer text.
        """
        return one()

    made = built(report, file="workflows/report.py", source="text")

    assert (made.dag_id, made.max_active_runs, made.max_active_tasks) == ("daily.report-1", 2, 3)
    assert (made.description, made.tags, made.file) == (
        "Adds up the week.",
        ("finance",),
        "workflows/report.py",
    )
    assert made.line == inspect.getsourcelines(report.function)[1]
    assert made.schedule == Schedule(
        cron="30 2 * * 1",
        interval=None,
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        end_date=None,
        catchup=True,
        timezone="Europe/Berlin",
    )


def test_version_changes_with_source_text_and_graph_only(built: Built) -> None:
    def make(edges: bool) -> DagDefinition:
        @dag(dag_id="flow")
        def flow() -> None:
            first, second = one(), add(1)
            if edges:
                first >> second

        return flow

    plain = built(make(edges=False), source="text").version

    assert len(plain) == 12
    assert built(make(edges=False), source="text").version == plain
    assert built(make(edges=False), source="other").version != plain
    assert built(make(edges=True), source="text").version != plain


def test_version_tells_which_result_goes_where(built: Built) -> None:
    def make(swapped: bool) -> DagDefinition:
        @dag(dag_id="flow")
        def flow() -> None:
            first, second = one(), one()
            add(second, first) if swapped else add(first, second)

        return flow

    assert built(make(swapped=True)).version != built(make(swapped=False)).version


def test_build_of_ten_thousand_tasks_and_a_join_takes_well_under_a_second(built: Built) -> None:
    @dag
    def wide() -> Any:
        return wait([add(number) for number in range(10_000)])

    begun = time.process_time()
    made = built(wide, max_tasks=10_001)
    seconds = time.process_time() - begun

    assert len(made.tasks[10_000].upstream) == 10_000
    assert resolve(made.tasks[10_000], list(range(10_001)), {})[1]["a"] == list(range(10_000))
    assert seconds < 1


def test_constants_are_not_shared_between_attempts(built: Built) -> None:
    @dag
    def flow() -> None:
        wait({"rows": [1, (2, [3])]})

    node = built(flow).tasks[0]

    first = resolve(node, [], {})[1]["a"]
    first["rows"][1][1].append(4)
    first["rows"].append(5)

    assert resolve(node, [], {})[1]["a"] == {"rows": [1, (2, [3])]}


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────


def _flow(body: Callable[[], Any], **options: Any) -> DagDefinition:
    return dag(dag_id="flow", **options)(body)


def _repeated_id() -> None:
    add.override(task_id="same")(1)
    add.override(task_id="same")(2)


def _clash() -> None:
    one()
    add.override(task_id="one")(2)


def _cycle() -> None:
    first, second, third = one(), add(1), add(2)
    first >> second >> third >> first


def _two_cycles() -> None:
    first, second, third, fourth = one(), one(), one(), one()
    first >> second >> first
    third >> fourth >> third


def _self_cycle() -> None:
    first = one()
    first >> first


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _knot() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


def _raises() -> None:
    one()
    raise LookupError("no such\n  table")


def _exits() -> None:
    raise SystemExit(3)


async def _coroutine() -> None:
    one()


def _generator() -> Iterator[Any]:
    yield one()


_foreign: list[Any] = []


def _other_dag() -> None:
    _foreign.append(one())


def _uses_foreign() -> None:
    _other = build(_flow(_other_dag))
    add(_foreign[-1])


def _waits_for_foreign() -> None:
    _other = build(_flow(_other_dag))
    _foreign[-1] >> one()


@task
def two_contexts(first: Context, second: Context) -> None: ...


@task
def with_rest(context: Context, *rest: int) -> None: ...


@task
def yields() -> Iterator[int]:
    yield 1


_inner = dag(dag_id="inner")(lambda: one())

MISTAKES: list[tuple[str, DagDefinition, str]] = [
    ("unknown name", _flow(lambda: one.override(depends_on="nothing")()), "'one' depends on 'nothing'"),
    (
        "unknown task",
        _flow(lambda: one.override(depends_on=[add])()),
        "'one' depends on 'add', which is not in",
    ),
    ("unknown kind", _flow(lambda: one.override(depends_on=[3])()), "'one' depends on '3'"),
    ("foreign output", _flow(_uses_foreign), "output of task 'one' belongs to another DAG"),
    ("foreign arrow", _flow(_waits_for_foreign), "'one' depends on 'one', which belongs to another DAG"),
    ("cycle", _flow(_cycle), "the tasks wait for each other: one → add → add__2 → one"),
    ("self cycle", _flow(_self_cycle), "the tasks wait for each other: one → one"),
    ("own name", _flow(lambda: one.override(depends_on="one")()), "wait for each other: one → one"),
    ("repeated id", _flow(_repeated_id), "duplicate task id 'same'"),
    ("clashing id", _flow(_clash), "duplicate task id 'one'"),
    ("empty id", _flow(lambda: one.override(task_id="")()), "task id '' must have 1 to 250 characters"),
    ("long id", _flow(lambda: one.override(task_id="a" * 251)()), "must have 1 to 250 characters"),
    ("odd id", _flow(lambda: one.override(task_id="a/b")()), "task id 'a/b' must have 1 to 250 characters"),
    ("id with newline", _flow(lambda: one.override(task_id="a\n")()), "must have 1 to 250 characters"),
    ("lambda", _flow(lambda: task(lambda: 1)()), "task id '<lambda>' must have"),
    ("odd DAG id", dag(dag_id="a b")(lambda: one()), "DAG id 'a b' must have 1 to 250"),
    ("missing argument", _flow(lambda: add()), "task 'add': function add: missing a required argument: 'a'"),
    ("extra argument", _flow(lambda: one(1)), "function one: too many positional arguments"),
    ("unknown argument", _flow(lambda: add(1, c=2)), "got an unexpected keyword argument 'c'"),
    (
        "context given",
        _flow(lambda: wait(1, context=None)),
        "'context' is the Context, which Tidemill passes",
    ),
    ("rest and context", _flow(lambda: with_rest(1)), "*rest and a Context cannot be passed together"),
    ("two contexts", _flow(lambda: two_contexts()), "asks for the Context twice (first, second)"),
    ("generator task", _flow(lambda: yields()), "function yields is a generator"),
    ("negative retries", _flow(lambda: one.override(retries=-1)()), "retries must be a whole number from 0"),
    ("bool retries", _flow(lambda: one.override(retries=True)()), "retries must be a whole number from 0"),
    ("retry kind", _flow(lambda: one.override(retry=3)()), "retry must be a Retry, not int"),
    ("retry attempts", _flow(lambda: one.override(retry=Retry(max_attempts=0))()), "max_attempts must be"),
    (
        "retry backoff",
        _flow(lambda: one.override(retry=Retry(backoff=0.5))()),
        "backoff must be a number from 1",
    ),
    (
        "retry jitter",
        _flow(lambda: one.override(retry=Retry(jitter=2))()),
        "jitter must be a number from 0 to 1",
    ),
    (
        "retry delay",
        _flow(lambda: one.override(retry=Retry(delay=timedelta(-1)))()),
        "delay must be a timedelta",
    ),
    ("both retries", _flow(lambda: task(task_id="x", retries=1, retry=Retry())(lambda: 1)()), "not both"),
    (
        "zero timeout",
        _flow(lambda: one.override(timeout=0)()),
        "timeout must be a timedelta or seconds, above 0",
    ),
    ("infinite timeout", _flow(lambda: one.override(timeout=float("inf"))()), "above 0, and finite"),
    ("text timeout", _flow(lambda: one.override(timeout="5")()), "timeout must be a timedelta or seconds"),
    (
        "negative delay",
        _flow(lambda: one.override(retry_delay=-1)()),
        "retry_delay must be a timedelta or seconds",
    ),
    (
        "both timeouts",
        _flow(lambda: task(task_id="x", timeout=1, execution_timeout=1)(lambda: 1)()),
        "mean the same",
    ),
    ("default retry", _flow(lambda: one(), default_retry=3), "default_retry must be a Retry"),
    (
        "no active runs",
        _flow(lambda: one(), max_active_runs=0),
        "max_active_runs must be a whole number from 1",
    ),
    ("no active tasks", _flow(lambda: one(), max_active_tasks=0), "max_active_tasks must be a whole number"),
    ("description", _flow(lambda: one(), description=3), "description must be text"),
    ("tags", _flow(lambda: one(), tags="a"), "tags must be a list of texts"),
    (
        "cron",
        _flow(lambda: one(), schedule="61 * * * *"),
        "'61 * * * *' is not a cron expression (bad minute)",
    ),
    ("tags kind", _flow(lambda: one(), tags=None), "tags must be a list of texts"),
    ("DAG id kind", dag(dag_id=[1])(lambda: one()), "DAG id [1] must have 1 to 250"),  # type: ignore[call-overload]
    ("both schedules", _flow(lambda: one(), schedule="@daily", schedule_interval="@daily"), "mean the same"),
    ("dates", _flow(lambda: one(), start_date=date(2024, 1, 1)), "start_date must be a datetime, not date"),
    ("timezone", _flow(lambda: one(), timezone="Mars/Base"), "timezone 'Mars/Base' is not an IANA name"),
    ("no tasks", _flow(lambda: None), "the DAG has no tasks"),
    ("coroutine DAG", _flow(_coroutine), "a DAG is a plain function"),
    ("generator DAG", _flow(_generator), "a DAG is a plain function"),
    ("raises", _flow(_raises), "the DAG function raised LookupError: no such table"),
    ("exits", _flow(_exits), "the DAG function raised SystemExit: 3"),
    ("tests an output", _flow(lambda: add(1) if one() else None), "cannot be tested; pass it to a task"),
    ("uncalled task", _flow(lambda: add(one)), "task 'one' is passed without being called; write one()"),
    ("output as key", _flow(lambda: add({one(): 1})), "a key of a dict cannot be an output"),
    ("output in set", _flow(lambda: add({one()})), "cannot be in a set; use a list"),
    ("deep argument", _flow(lambda: add(_nested(100))), "nested deeper than 64 levels"),
    ("argument in itself", _flow(lambda: add(_knot())), "nested deeper than 64 levels"),
    ("DAG in DAG", _flow(lambda: add(_inner(1))), "DAG 'inner': too many positional arguments"),
    (
        "star parameters",
        dag(dag_id="flow")(lambda *rows: one()),
        "parameter *rows of the DAG must be passable",
    ),
]


@pytest.mark.parametrize(
    ("definition", "message"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES]
)
def test_build_refuses(definition: DagDefinition, message: str, problems: Problems) -> None:
    found = problems(definition)

    assert any(message in one for one in found), found
    assert len(found) == 1, found


def test_build_reports_every_problem_at_once_with_its_line(problems: Problems) -> None:
    @dag(dag_id="bad id", max_active_runs=0, schedule="@once", timezone="nowhere")
    def flow(count: int = "many") -> None:  # type: ignore[assignment]
        add()
        one.override(retries=-1, timeout=0, depends_on=["nothing"])()
        first, second = one(), add(1)
        first >> second >> first

    made = build(flow, file="workflows/flow.py")

    assert isinstance(made, list)
    begin = inspect.getsourcelines(flow.function)[1]
    lines = [(one.line - begin, one.message.removeprefix("DAG 'bad id': ")[:24]) for one in made]
    assert lines == [
        (0, "DAG id 'bad id' must hav"),
        (0, "max_active_runs must be "),
        (0, "schedule_interval '@once"),
        (0, "the default of parameter"),
        (0, "timezone 'nowhere' is no"),
        (2, "task 'add': function add"),
        (3, "task 'one' depends on 'n"),
        (3, "task 'one': retries must"),
        (3, "task 'one': timeout must"),
        (4, "the tasks wait for each "),
    ]
    assert {one.file for one in made} == {"workflows/flow.py"}


def test_build_reports_separate_cycles_separately(problems: Problems) -> None:
    found = problems(_flow(_two_cycles))

    assert [one.split(": ")[1] for one in found] == ["one → one__2 → one", "one__3 → one__4 → one__3"]


@pytest.mark.parametrize(("limit", "accepted"), [(9, False), (10, True), (11, True)])
def test_build_limits_the_number_of_tasks(limit: int, accepted: bool) -> None:
    made = build(_flow(lambda: [one() for _ in range(10)]), max_tasks=limit)

    assert isinstance(made, Dag) is accepted
    if isinstance(made, list):
        assert [f"more than {limit} tasks" in one.message for one in made] == [True]


def test_build_ends_a_function_that_adds_tasks_for_ever(problems: Problems) -> None:
    def endless() -> None:
        while True:
            one()

    assert problems(_flow(endless), max_tasks=100) == [
        "the DAG has more than 100 tasks; split it, or raise max_tasks_per_dag"
    ]


def test_build_reports_a_mistake_in_a_loop_once(problems: Problems) -> None:
    assert len(problems(_flow(lambda: [add() for _ in range(100)]))) == 1


def test_build_does_not_call_names_unknown_that_a_raising_function_did_not_reach(problems: Problems) -> None:
    def half() -> None:
        one.override(depends_on="add")()
        raise ValueError

    assert problems(_flow(half)) == ["the DAG function raised ValueError"]


def test_a_definition_called_as_in_airflow_is_itself(built: Built) -> None:
    definition = _flow(lambda: one())

    assert definition() is definition
    assert dataclasses.replace(built(definition)).dag_id == "flow"
