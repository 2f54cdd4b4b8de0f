"""How long after which failure the next attempt follows, and after which none does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tidemill import Retry, dag, task
from tidemill.errors import MemoryExceeded

_SECOND = timedelta(seconds=1)


class Refused(ConnectionError):  # noqa: N818 - as people name them
    """A user's own."""


def delays(**how: Any) -> list[float | None]:
    """The delays of a policy without chance."""
    policy = Retry(max_attempts=5, delay=2 * _SECOND, jitter=0, **how)
    return [policy.delay_after(number, 0.5) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [2, 4, 8, 16, None]),
        ({"backoff": 3}, [2, 6, 18, 54, None]),
        ({"growth": "linear"}, [2, 4, 6, 8, None]),
        ({"growth": "fixed"}, [2, 2, 2, 2, None]),
        ({"growth": "linear", "max_delay": 5 * _SECOND}, [2, 4, 5, 5, None]),
        ({"backoff": 1e200, "max_delay": 9 * _SECOND}, [2, 9, 9, 9, None]),
    ],
    ids=["exponential", "backoff", "linear", "fixed", "ceiling", "overflow"],
)
def test_delays_grow_as_the_policy_says(how: dict[str, Any], expected: list[float | None]) -> None:
    assert delays(**how) == expected


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 0.0), (0.25, 1.0), (0.999, 3.996)])
def test_full_jitter_spreads_from_nothing_to_the_delay(chance: float, expected: float) -> None:
    policy = Retry(max_attempts=2, delay=4 * _SECOND, jitter="full")

    assert policy.delay_after(1, chance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("how", "error", "gives_up"),
    [
        ({}, ValueError(), False),
        ({"retry_on": [ConnectionError]}, ConnectionError(), False),
        ({"retry_on": [ConnectionError]}, Refused(), False),
        ({"retry_on": [ConnectionError]}, ValueError(), True),
        ({"retry_on": "ConnectionError"}, Refused(), False),
        ({"retry_on": ["builtins.ConnectionError"]}, Refused(), False),
        ({"retry_on": ["OSError"]}, Refused(), False),
        ({"retry_on": [f"{__name__}.Refused"]}, Refused(), False),
        ({"retry_on": [f"{__name__}.Refused"]}, ConnectionError(), True),
        ({"retry_on": ["asyncio.TimeoutError"]}, TimeoutError(), False),
        ({"retry_on": ["nowhere.Refused"]}, Refused(), True),
        ({"give_up_on": [ValueError]}, ValueError(), True),
        ({"give_up_on": [LookupError]}, KeyError(), True),
        ({"give_up_on": (LookupError,)}, ValueError(), False),
        ({"retry_on": [OSError], "give_up_on": [Refused]}, Refused(), True),
        ({"retry_on": [OSError], "give_up_on": [Refused]}, ConnectionError(), False),
        ({"retry_on": [OSError]}, MemoryExceeded(), False),
        ({"give_up_on": [MemoryError]}, MemoryExceeded(), True),
    ],
)
def test_policy_gives_up_on_what_it_names(how: dict[str, Any], error: BaseException, gives_up: bool) -> None:
    assert Retry(**how).gives_up_on(error) is gives_up


@pytest.mark.parametrize(
    ("how", "gives_up"),
    [
        ({}, False),
        ({"retry_on": [ValueError]}, False),
        ({"give_up_on": ["TaskTimedOut"]}, True),
        ({"give_up_on": ["tidemill.errors.TaskTimedOut"]}, True),
        ({"give_up_on": ["WorkerLost"]}, False),
    ],
)
def test_failures_from_outside_are_tried_again_unless_they_are_named(
    how: dict[str, Any], gives_up: bool
) -> None:
    assert Retry(**how).gives_up_on_kind("TaskTimedOut") is gives_up


def test_text_of_a_policy_without_the_later_fields_is_the_one_it_always_had() -> None:
    assert repr(Retry(max_attempts=3)) == (
        "Retry(max_attempts=3, delay=datetime.timedelta(seconds=1), backoff=2.0, "
        "max_delay=datetime.timedelta(seconds=600), jitter=0.1)"
    )


def test_text_of_a_policy_tells_its_exceptions_the_same_everywhere() -> None:
    policy = Retry(growth="fixed", retry_on={OSError, KeyError}, give_up_on=[Refused, "x.Y"])

    assert repr(policy).endswith(
        f"growth='fixed', retry_on=['KeyError', 'OSError'], give_up_on=['{__name__}.Refused', 'x.Y'])"
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"growth": "wild"}, "retry: growth must be one of exponential, linear, fixed, not 'wild'"),
        ({"jitter": "some"}, 'retry: jitter must be a number from 0 to 1, or "full"'),
        (
            {"retry_on": [int]},
            "retry: retry_on must be exception types or their dotted names, not <class 'int'>",
        ),
        ({"give_up_on": ["not a name"]}, "give_up_on must be exception types or their dotted names"),
        ({"retry_on": 7}, "retry: retry_on must be exception types or their dotted names, not 7"),
    ],
)
def test_wrong_policy_is_refused_at_build(
    problems: Callable[..., list[str]], how: dict[str, Any], message: str
) -> None:
    @task(retry=Retry(**how))
    def work() -> None:
        pass

    @dag
    def d() -> None:
        work()

    found = problems(d)

    assert len(found) == 1
    assert message in found[0]
