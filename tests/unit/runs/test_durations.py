"""What is learned of durations: percentiles, forgetting, sizes, and the stored form."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.runs.durations import DEFAULT_SECONDS, Sketch, TaskModel, expected_seconds, size_of


def model_of(*seconds: float) -> TaskModel:
    model = TaskModel()
    for one in seconds:
        model.add(round(one * 1e6))
    return model


@given(st.lists(st.integers(100, 10**12), min_size=1, max_size=6))
def test_median_of_few_is_right_to_half_a_bucket(durations: list[int]) -> None:
    sketch = Sketch()
    for one in durations:
        sketch.add(one)

    found = sketch.quantile(0.5)

    # The later ones weigh a little more, which may move the middle of an even number to either side.
    low, high = statistics.median_low(durations), statistics.median_high(durations)
    assert found is not None
    assert min(low, high) * 0.94 <= found <= max(low, high) * 1.06


def test_percentiles_follow_what_was_added() -> None:
    chance = random.Random(1)
    durations = [chance.lognormvariate(2, 0.5) for _ in range(2000)]
    model = model_of(*durations)

    recent = sorted(durations[-200:])

    assert model.seconds(0.5) == pytest.approx(recent[100], rel=0.25)
    assert model.seconds(0.9) == pytest.approx(recent[180], rel=0.35)


def test_one_outlier_in_ten_does_not_move_the_middle() -> None:
    model = model_of(*[1.0, 1.0, 1.0, 900.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0] * 5)

    assert model.seconds() == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_a_task_that_has_changed_is_learned_anew_within_ten_attempts(factor: float) -> None:
    chance = random.Random(2)
    model = model_of(*[10 * chance.lognormvariate(0, 0.1) for _ in range(500)])

    for _ in range(10):
        model.add(round(10e6 * factor * chance.lognormvariate(0, 0.1)))

    assert model.seconds() == pytest.approx(10 * factor, rel=0.2)


def test_a_task_that_drifts_is_followed() -> None:
    model = model_of(*[10.0 * 1.01**step for step in range(300)])

    assert model.seconds() == pytest.approx(10.0 * 1.01**290, rel=0.2)


def test_nothing_is_known_of_nothing() -> None:
    assert TaskModel().seconds() is None
    assert Sketch().quantile(0.5) is None


@pytest.mark.parametrize("microseconds", [0, -5, 1])
def test_a_clock_that_was_set_back_gives_no_time(microseconds: int) -> None:
    sketch = Sketch()

    sketch.add(microseconds)

    assert sketch.quantile(0.5) == pytest.approx(1, rel=0.1)


# ── sizes ──


def by_size(sizes: list[int], *, seconds_each: float, noise: float = 0.05) -> TaskModel:
    chance, model = random.Random(3), TaskModel()
    for size in sizes:
        model.add(round(size * seconds_each * 1e6 * chance.lognormvariate(0, noise)), size)
    return model


def test_durations_go_with_the_size_of_the_input() -> None:
    model = by_size([100] * 10 + [1000] * 10 + [10_000] * 10, seconds_each=0.01)

    assert model.seconds(size=100) == pytest.approx(1, rel=0.2)
    assert model.seconds(size=10_000) == pytest.approx(100, rel=0.2)
    assert model.seconds(size=3000) == pytest.approx(30, rel=0.3)


def test_beyond_what_was_seen_the_slope_goes_on() -> None:
    model = by_size([100] * 10 + [1000] * 10 + [10_000] * 10, seconds_each=0.01)

    assert model.seconds(size=100_000) == pytest.approx(1000, rel=0.4)


def test_one_size_of_which_little_is_known_does_not_bend_it() -> None:
    model = by_size([100] * 10 + [10_000] * 10, seconds_each=0.01)
    model.add(500_000_000, 1000)

    assert model.seconds(size=1000) == pytest.approx(10, rel=0.4)


def test_without_a_size_all_attempts_count() -> None:
    model = by_size([100] * 20, seconds_each=0.01)

    assert model.seconds() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (7, 7.0),
        (-2.5, 2.5),
        ("abc", 3.0),
        ([1, 2], 2.0),
        ({"a": 1}, 1.0),
        (None, None),
        (True, None),
        (object(), None),
    ],
)
def test_size_of_a_value(value: object, size: float | None) -> None:
    assert size_of(value) == size


# ── stored form, bounds ──


@given(st.lists(st.tuples(st.integers(1, 10**13), st.one_of(st.none(), st.integers(0, 10**9))), max_size=60))
def test_what_is_stored_comes_back(attempts: list[tuple[int, int | None]]) -> None:
    model = TaskModel()
    for microseconds, size in attempts:
        model.add(microseconds, size)

    again = TaskModel.decoded(model.encoded())

    assert (
        again.seconds() == pytest.approx(model.seconds(), rel=0.11) if attempts else again.seconds() is None
    )
    assert again.seconds(size=1000) == pytest.approx(model.seconds(size=1000), rel=0.25) if attempts else True


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"[2,[0],[]]", b"[1,[1,400,1.0],[]]", b'[1,["x",1],[]]', b"[1,5,6]"]
)
def test_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is said, it is learned anew
        TaskModel.decoded(body)


def test_memory_and_store_are_bounded_whatever_comes() -> None:
    chance, model = random.Random(4), TaskModel()
    for _ in range(30_000):
        model.add(round(10 ** chance.uniform(0, 15)), 10 ** chance.uniform(0, 18))

    body = model.encoded()

    assert len(body) < 40_000
    assert len(model_of(*[chance.lognormvariate(1, 0.3) for _ in range(5000)]).encoded()) < 1500


def test_the_same_attempts_give_the_same_sketch() -> None:
    durations = [random.Random(5).lognormvariate(1, 1) for _ in range(3000)]

    assert model_of(*durations).encoded() == model_of(*durations).encoded()


# ── expectation ──


def test_expected_is_the_median_and_the_usual_for_what_is_unknown() -> None:
    models = {"a": model_of(1.0), "b": model_of(10.0), "c": model_of(100.0)}

    assert expected_seconds(["a", "b", "c", "new"], models) == pytest.approx([1, 10, 100, 10], rel=0.06)
    assert expected_seconds(["x", "y"], {}) == [DEFAULT_SECONDS, DEFAULT_SECONDS]
