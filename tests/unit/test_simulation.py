"""The simulation of fleets keeps what every queue must keep: nothing is lost, and nothing is faster than its limit."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate-scale"
#: More than chance moves a rate of so few simulated events.
CHANCE = 1.05


@pytest.fixture(scope="module")
def simulation() -> Iterator[ModuleType]:
    loader = importlib.machinery.SourceFileLoader("simulate_scale", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = dont_write
        del sys.modules[loader.name]


@pytest.mark.parametrize("design", ["postgres", "kafka"])
@pytest.mark.parametrize("nodes", [1, 3, 25])
@pytest.mark.parametrize("load", [0.3, 0.7, 1.5])
def test_every_event_that_arrived_is_done_or_under_way(
    simulation: ModuleType, design: str, nodes: int, load: float
) -> None:
    result = simulation.simulate(simulation.Design(design), nodes, load=load, seconds=0.2)

    assert result.arrived > 0
    assert result.arrived == result.done + result.queued


@pytest.mark.parametrize("design", ["postgres", "kafka"])
@pytest.mark.parametrize("nodes", [1, 3, 25])
@pytest.mark.parametrize("load", [0.7, 1.0, 2.0])
def test_throughput_stays_below_the_limit_of_the_bottleneck(
    simulation: ModuleType, design: str, nodes: int, load: float
) -> None:
    result = simulation.simulate(simulation.Design(design), nodes, load=load, seconds=0.5)

    assert 0 < result.throughput <= result.capacity * CHANCE
    assert result.capacity == min(
        simulation.capacities(simulation.Design(design), nodes, simulation.Costs()).values()
    )


@pytest.mark.parametrize("design", ["postgres", "kafka"])
def test_queue_grows_only_under_more_load_than_the_limit(simulation: ModuleType, design: str) -> None:
    steady, flooded = (
        simulation.simulate(simulation.Design(design), 3, load=load, seconds=1.0) for load in (0.6, 1.5)
    )

    assert steady.queued < steady.arrived * 0.1
    assert steady.throughput == pytest.approx(steady.offered, rel=0.1)
    assert flooded.queued > 1.5 * flooded.queued_halfway
    assert flooded.queued > flooded.arrived * 0.2


def test_same_seed_gives_the_same_and_another_one_does_not(simulation: ModuleType) -> None:
    first, again, other = (
        simulation.simulate(simulation.Design.POSTGRES, 3, seconds=0.2, seed=seed) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_shard_groups_add_up_and_one_log_does_not(simulation: ModuleType) -> None:
    def limit(design: str, nodes: int) -> float:
        limits: dict[str, float] = simulation.capacities(simulation.Design(design), nodes, simulation.Costs())
        return min(limits.values())

    assert limit("kafka", 1000) == pytest.approx(100 * limit("kafka", 10))
    assert limit("postgres", 1000) < 3 * limit("postgres", 1)


def test_a_slow_database_becomes_the_bottleneck(simulation: ModuleType) -> None:
    costs = simulation.Costs(row_us=400.0, database_cores=2)

    result = simulation.simulate(simulation.Design.KAFKA, 10, load=1.3, seconds=1.0, costs=costs)

    assert result.bottleneck == "databases"
    assert result.busiest == "database"
    assert result.busy > 0.95


def test_median_is_not_above_the_99th_percentile_and_contains_the_way_to_the_disk(
    simulation: ModuleType,
) -> None:
    costs = simulation.Costs()

    result = simulation.simulate(simulation.Design.POSTGRES, 3, load=0.3, seconds=0.5, costs=costs)

    # Append, route, start and end are four commits one after the other.
    assert 4 * costs.flush_us * 1e-6 < result.p50 <= result.p99


def test_page_shows_what_the_command_prints(
    simulation: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    page = [
        line.split() for line in (SCRIPT.parents[1] / "docs" / "scale.md").read_text("utf-8").splitlines()
    ]

    simulation.main(["--nodes", "3", "--load", "0.7"])

    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in printed[1:]] == [["postgres", "3"], ["kafka", "3"]]
    assert all(row in page for row in printed)


def test_page_tells_the_assumptions_of_the_simulation(simulation: ModuleType) -> None:
    page = (SCRIPT.parents[1] / "docs" / "scale.md").read_text("utf-8")
    costs = simulation.Costs()

    interpreter = costs.receive_us + costs.route_us + 2 * costs.decide_us + costs.complete_us
    rows = costs.route_rows + 2 * costs.decide_rows

    assert f"| interpreter, an event in all | {interpreter:.0f} µs |" in page
    parts = (costs.receive_us, costs.route_us, costs.decide_us, costs.complete_us)
    assert "| {:.0f}, {:.0f}, 2 \N{MULTIPLICATION SIGN} {:.0f}, {:.0f} µs |".format(*parts) in page
    assert f"| {rows + 2 * costs.append_rows} with the log in PostgreSQL, {rows} without |" in page
    assert f"| {costs.row_us:.0f} µs of one core |" in page
    assert f"| {costs.round_trips}, each {costs.round_trip_us:.0f} µs there and back |" in page
    assert f"| a flush | {costs.flush_us:.0f} µs |" in page
    assert f"| most rows of a commit | {simulation.COMMIT_ROWS:,} |" in page


def test_command_prints_a_row_for_each_size(
    simulation: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    simulation.main(["--design", "kafka", "--nodes", "1", "20", "--load", "0.5", "--seconds", "0.1"])

    header, *rows = capsys.readouterr().out.splitlines()
    assert "limited by" in header
    assert [row.split()[:3] for row in rows] == [["kafka", "1", "1"], ["kafka", "20", "2"]]
