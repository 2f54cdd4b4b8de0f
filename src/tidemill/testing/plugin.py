"""The pytest plug-in: fixtures that hand out harnesses, options and a marker for faults.

Loaded in every pytest run, so it imports next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tidemill.dag.context import Context
    from tidemill.project.model import Project
    from tidemill.testing.blocking import BlockingHarness
    from tidemill.testing.harness import Harness
    from tidemill.testing.views import RunView

__all__ = [
    "assert_history",
    "make_context",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_makereport",
    "tidemill",
    "tidemill_database_url",
    "tidemill_harness",
    "tidemill_project",
    "tidemill_root",
]

#: What says that a folder is a project.
_SIGNS = ("tidemill.toml", "workflows", "triggers")
#: Where snapshots of histories lie, beside the test file.
_HISTORIES = "histories"
_NAME = re.compile(r"[\w][\w .-]*")
_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tidemill", "tests of tidemill workflows")
    group.addoption(
        "--tidemill-seed",
        type=int,
        default=None,
        metavar="N",
        help="seed of every harness: ids, chance, chaos",
    )
    group.addoption(
        "--tidemill-chaos",
        default=None,
        metavar="NAME=NUMBER,...",
        help="faults for every harness that has none of its own, such as kill=0.1,duplicate=0.2 "
        "(kill, disk_full, lost_answer, duplicate, reorder, delay)",
    )
    group.addoption(
        "--tidemill-update", action="store_true", help="write the snapshots of histories instead of comparing"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "tidemill(**options): options of this test's harnesses, such as chaos=Chaos(kill=0.1), faults=[...], seed=7",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that failed under chaos says with which seed it fails again."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed and _SEED in item.stash:
        report.sections.append(("tidemill", f"again with --tidemill-seed={item.stash[_SEED]}"))


@pytest.fixture
def tidemill_database_url() -> str | None:
    """Where harnesses keep their state: None is a file of their own, an override may give `postgresql://...`."""
    return None


@pytest.fixture
def tidemill_root(request: pytest.FixtureRequest) -> Path:
    """The folder of the project that is tested: the nearest above the test file that looks like one."""
    above = request.path.parents
    found = next((one for one in above if any((one / sign).exists() for sign in _SIGNS)), None)
    return request.config.rootpath if found is None else found


@pytest.fixture
def tidemill_project(tidemill_root: Path) -> Project:
    """That project, loaded; a test with it fails when a definition is wrong."""
    from tidemill.project.load import load

    return load(tidemill_root)


@pytest.fixture
def tidemill_harness(
    request: pytest.FixtureRequest, tidemill_root: Path, tidemill_database_url: str | None
) -> Callable[..., Harness]:
    """Makes harnesses: `async with tidemill_harness(dags=[my_dag]) as harness: ...` (see `Harness`).

    Without `dags`, `triggers` and `root` it is one of the project that is tested.
    """

    def make(**options: Any) -> Harness:
        from tidemill.testing.harness import Harness

        return Harness(**_options(request, tidemill_root, tidemill_database_url, options))

    return make


@pytest.fixture
def tidemill(
    request: pytest.FixtureRequest, tidemill_root: Path, tidemill_database_url: str | None
) -> Iterator[BlockingHarness]:
    """A running harness of the project that is tested, for tests that are plain functions: no `await`."""
    from tidemill.testing.blocking import BlockingHarness

    with BlockingHarness(**_options(request, tidemill_root, tidemill_database_url, {})) as harness:
        yield harness


@pytest.fixture
def make_context() -> Callable[..., Context]:
    """Makes a `Context` for tasks that are called as functions (see `tidemill.testing.make_context`)."""
    from tidemill.testing.contexts import make_context

    return make_context


@pytest.fixture
def assert_history(request: pytest.FixtureRequest) -> Callable[[RunView, str], None]:
    """`assert_history(run, "name")` holds a run's history to `histories/name.txt` beside the test file.

    `--tidemill-update` writes the file. Moments, ids, folders and tracebacks do not count.
    """

    def check(run: RunView, name: str) -> None:
        from tidemill.testing.histories import compare_history

        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no file name")
        file = request.path.parent / _HISTORIES / f"{name}.txt"
        compare_history(run.summary, run.history, file, update=request.config.getoption("--tidemill-update"))

    return check


def _options(
    request: pytest.FixtureRequest, root: Path, database_url: str | None, given: dict[str, Any]
) -> dict[str, Any]:
    """Of a harness: what the test gives, then its marker, then the command line."""
    options: dict[str, Any] = {"database_url": database_url}
    marker = request.node.get_closest_marker("tidemill")
    if marker is not None:
        options |= marker.kwargs
    options |= given
    if not options.keys() & {"dags", "triggers", "root"}:
        options["root"] = root
    seed: int | None = request.config.getoption("--tidemill-seed")
    if seed is not None:
        options["seed"] = seed
    _add_chaos(request, options, seed)
    return options


def _add_chaos(request: pytest.FixtureRequest, options: dict[str, Any], seed: int | None) -> None:
    wanted = request.config.getoption("--tidemill-chaos")
    chaos = options.get("chaos")
    if chaos is None and not wanted:
        return
    from dataclasses import replace

    from tidemill.testing.chaos import parse_chaos

    if chaos is None:
        try:
            chaos = parse_chaos(wanted, seed=options.get("seed", 0))
        except ValueError as error:
            raise pytest.UsageError(f"--tidemill-chaos: {error}") from None
    elif seed is not None:
        chaos = replace(chaos, seed=seed)
    options["chaos"] = chaos
    request.node.stash[_SEED] = chaos.seed
